from __future__ import annotations

import asyncio
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conaclip_edge.benchmarks.phones.ios import import_ios_result, write_ios_recipe
from conaclip_edge.benchmarks.phones.ios_measure import inputs, measure
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, read_report
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from tests.helpers.benchmarks.small_towers import SPACE, small_bundle

FILES = {f"coreml/{tower}.int8.mlpackage": "coreml" for tower in ("image", "text")}


def result(**changes: Any) -> dict[str, Any]:
    times = [1.0 + 0.01 * number for number in range(40)]
    files = [{"path": path, "load_ms": [90.0, 80.0, 85.0], "first_ms": 6.5, "predict_ms": times} for path in FILES]
    return {
        "schema": "conaclip-edge/ios/1",
        "embedding_space": SPACE,
        "device": {"name": "iPhone 17", "os": "iOS 26.1"},
        "coremltools": "9.0",
        "compute_units": "ALL",
        "warmup": 5,
        "files": files,
    } | changes


@pytest.fixture
def bundle(tmp_path) -> Path:
    return small_bundle(tmp_path / "bundle", FILES)


def imported(bundle: Path, values: dict[str, Any]) -> BenchmarkReport:
    file = bundle.parent / "ios.json"
    file.write_text(json.dumps(values), "utf-8")
    return import_ios_result(bundle, BenchmarkConfig(), bundle.parent / "report", file)


def test_the_recipe_holds_the_script_and_the_steps(bundle):
    found = write_ios_recipe(bundle, BenchmarkConfig(), bundle.parent / "recipe")
    assert found.command == "python ios_measure.py bundle ios.json --team TEAM_ID"
    script = (bundle.parent / "recipe" / "ios_measure.py").read_text("utf-8")
    compile(script, "ios_measure.py", "exec")
    assert "import conaclip_edge" not in script
    assert "from conaclip_edge" not in script
    steps = (bundle.parent / "recipe" / "README.md").read_text("utf-8")
    for word in (found.command, "devicectl", "Performance Report", "--device ios --result ios.json"):
        assert word in steps


def test_what_an_iphone_measured_becomes_rows_under_its_name(bundle):
    report = imported(bundle, result())
    assert read_report(bundle.parent / "report" / "report.json") == report
    assert report.environment.kind == "phone"
    assert report.environment.label == "iPhone 17, iOS 26.1"
    row = report.rows[0]
    assert (row.id, row.executed, row.recall) == ("coreml-int8", "native", None)
    image = row.latency_ms["image"]
    assert (image.cold_load, image.first_call, image.n, image.warmup) == (85.0, 6.5, 40, 5)
    assert image.p50 == pytest.approx(1.195)


def test_a_mac_is_a_host_and_no_phone(bundle):
    report = imported(bundle, result(device={"name": "Mac", "os": "macOS"}))
    assert report.environment.kind == "host"


def timed(path, loads):
    return {"path": path, "load_ms": loads, "first_ms": 1.0, "predict_ms": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_space": "cd" * 32}, r"ios\.json was measured on another student .*cdcdcdcdcdcd"),
        ({"schema": "x"}, r"ios\.json: 'schema': .* A file that ios_measure\.py writes is needed"),
        ({"files": [timed("coreml/other.mlpackage", [1.0])]}, "has no times of the files"),
        ({"files": [timed("coreml/image.int8.mlpackage", [])]}, r"files\.0\.load_ms"),
    ],
)
def test_a_result_that_does_not_belong_is_refused(bundle, changes, message):
    with pytest.raises(UserError, match=message):
        imported(bundle, result(**changes))


def test_a_bundle_without_core_ml_files_has_nothing_for_an_iphone(tmp_path):
    bundle = small_bundle(tmp_path / "bundle", {"onnx/image.int8.onnx": "onnx", "onnx/text.int8.onnx": "onnx"})
    with pytest.raises(UserError, match=r"has none of the suite's targets \(coreml\) .* it has onnx int8"):
        write_ios_recipe(bundle, BenchmarkConfig(), tmp_path / "recipe")


class Samples:
    def __init__(self, samples: list[float]):
        self.samples = samples


def coremltools_that_plays(monkeypatch, connected: list[str]) -> list[tuple[str, Any]]:
    """Replace coremltools by modules that write down how the script uses them."""
    log: list[tuple[str, Any]] = []

    class Device:
        def __init__(self, name: str):
            self.name, self.os_version = name, "26.1"

        @staticmethod
        def get_connected_devices(kind: str) -> list[Device]:
            assert kind == "iphone"
            return [Device(name) for name in connected]

        async def prepare_for_model_debugging(self, credentials: dict[str, str]) -> Device:
            log.append(("prepare", credentials))
            return self

    class Benchmarker:
        def __init__(self, model: Any, device: Any):
            self.model, self.device = model, device

        async def benchmark_load(self, iterations: int) -> Samples:
            return Samples([80.0] * iterations)

        async def benchmark_predict(self, inputs: dict[str, np.ndarray], iterations: int) -> Samples:
            log.append((self.device.name, inputs))
            return Samples([float(number) for number in range(iterations)])

    main = types.ModuleType("coremltools")
    main.__version__ = "9.0"
    main.ComputeUnit = types.SimpleNamespace(ALL="ALL")
    main.models = types.SimpleNamespace(MLModel=lambda path, **keys: path)
    remote = types.ModuleType("remote")
    remote.Device, remote.DeviceType = Device, types.SimpleNamespace(IPHONE="iphone")
    remote.AppSigningCredentials = lambda development_team: {"team": development_team}
    perf = types.ModuleType("perf")
    perf.MLModelBenchmarker = Benchmarker
    experimental = "coremltools.models.ml_program.experimental"
    names = {"coremltools": main, "coremltools.models": main, "coremltools.models.ml_program": main, experimental: main}
    for name, module in (names | {f"{experimental}.perf_utils": perf, f"{experimental}.remote_device": remote}).items():
        monkeypatch.setitem(sys.modules, name, module)
    return log


def test_what_the_script_writes_is_what_the_import_reads(bundle, monkeypatch):
    log = coremltools_that_plays(monkeypatch, ["iPhone 17"])
    written = asyncio.run(measure(bundle, 20, "TEAM", mac=False))
    assert log[0] == ("prepare", {"team": "TEAM"})
    assert [name for name, _ in log[1:]] == ["iPhone 17"] * 2
    image = imported(bundle, written).rows[0].latency_ms["image"]
    assert (image.n, image.first_call, image.p50) == (20, 0.0, 14.5)  # calls 5 to 24 count


def test_the_script_ends_in_one_line_where_no_iphone_is_connected(bundle, monkeypatch):
    coremltools_that_plays(monkeypatch, [])
    with pytest.raises(SystemExit, match="no iPhone is connected"):
        asyncio.run(measure(bundle, 5, "TEAM", mac=False))


def test_the_script_feeds_a_picture_and_a_text_that_ends(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    picture = inputs(Path("image.int8.mlpackage"), manifest)["pixel_values"]
    ids = inputs(Path("text.int8.mlpackage"), manifest)["input_ids"]
    assert picture.shape == (1, 3, 4, 4)
    assert ids.tolist() == [[0] * 7 + [3]]
    assert ids.dtype == np.int32
