"""`benchmark --device arm64` on a small student, with this machine's Python in the place of arm64's."""

from __future__ import annotations

from pathlib import Path

import pytest

from conaclip_edge.benchmarks.arm64.run import benchmark_arm64
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, read_report
from conaclip_edge.config.benchmark import Arm64Config, BenchmarkConfig
from conaclip_edge.errors import UserError
from tests.helpers.benchmarks.arm64_systems import LABEL, stand_in
from tests.helpers.command_line import command

SUITE = BenchmarkConfig(split="val")


@pytest.fixture(scope="module")
def counted(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchmarkReport:
    """A report with counts."""
    folder = tmp_path_factory.mktemp("arm64")
    report = benchmark_arm64(shop / "bundle", SUITE, folder / "report", stand_in(folder))
    assert read_report(folder / "report" / "report.json") == report
    return report


def test_each_file_is_a_row_of_the_device_without_times(counted: BenchmarkReport) -> None:
    assert [row.id for row in counted.rows] == ["onnx-int8-arm64", "onnx-int8-ort-arm64"]
    for row in counted.rows:
        assert (row.device, row.executed, row.host) == (LABEL, "emulated", counted.environment.label)
        assert set(row.on_device) == {"image", "text"}
        assert not row.latency_ms
        assert row.recall is None
    assert counted.environment.versions["onnxruntime on arm64"] == "as here"


def test_the_same_kernels_give_the_same_embeddings_and_recall(counted: BenchmarkReport) -> None:
    assert counted.dataset is not None
    for row in counted.rows:
        for tower in row.on_device.values():
            assert tower.golden_passed
            assert tower.to_host_least == pytest.approx(1, abs=1e-6)
            assert 0.8 < tower.to_student < 1
            assert tower.mean_recall == tower.host_mean_recall > 0
            assert (tower.pictures, tower.captions) == (counted.dataset.pictures, counted.dataset.captions)
            assert tower.peak_bytes > tower.runtime_bytes


def test_calls_and_the_start_are_counted(counted: BenchmarkReport) -> None:
    counts = counted.rows[0].on_device["text"].instructions
    assert counts is not None
    assert (counts.median, counts.low, counts.high, counts.n, counts.start) == (1000, 1000, 1000, 5, 6014)
    assert counts.ids is not None
    assert 2 <= counts.ids <= counted.model.context


def test_pictures_beyond_the_time_are_left_out_and_recall_is_of_the_others(shop: Path, tmp_path: Path) -> None:
    suite = SUITE.model_copy(update={"arm64": Arm64Config(seconds=0)})
    row = benchmark_arm64(shop / "bundle", suite, tmp_path / "report", stand_in()).rows[0]
    assert row.on_device["image"].pictures == 1
    assert row.on_device["image"].mean_recall == row.on_device["image"].host_mean_recall == 100
    assert row.on_device["text"].pictures > 1
    assert row.on_device["text"].instructions is None


def test_without_a_runtime_or_a_system_the_error_says_how_to_get_it(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = stand_in()
    machine.sites.clear()
    with pytest.raises(UserError, match=r"no file of .* runs on arm64.* has no onnxruntime. Add it: conaclip-edge"):
        benchmark_arm64(shop / "bundle", SUITE, tmp_path / "report", machine)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, _, err = command(monkeypatch, capfd, "benchmark", shop / "bundle", "--device", "arm64")
    assert code == 2
    assert err.strip().endswith("Make it: conaclip-edge doctor --prepare arm64")
