"""`benchmark --device` on a small student, with this machine's Python in the place of the device's."""

from __future__ import annotations

from pathlib import Path

import pytest

from conaclip_edge.benchmarks.emulated.run import benchmark_device
from conaclip_edge.benchmarks.report.tables.device_table import device_answer
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, read_report
from conaclip_edge.config.benchmark import BenchmarkConfig, EmulatedConfig
from conaclip_edge.errors import UserError
from tests.helpers.benchmarks.devices import LABEL, stand_in
from tests.helpers.command_line import command

SUITE = BenchmarkConfig(split="val", comparison=("student",))
WITH_PLAIN = SUITE.model_copy(update={"comparison": ("student", "plain-onnx-fp32")})


@pytest.fixture(scope="module")
def counted(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchmarkReport:
    """A report with counts."""
    folder = tmp_path_factory.mktemp("arm64")
    report = benchmark_device(shop / "bundle", WITH_PLAIN, folder / "report", stand_in(folder))
    assert read_report(folder / "report" / "report.json") == report
    return report


def test_each_file_is_a_row_of_the_device_without_times(counted: BenchmarkReport) -> None:
    names = ["onnx-int8-arm64", "onnx-int8-ort-arm64", "plain-onnx-fp32-arm64"]
    assert [row.id for row in counted.rows] == names
    assert [row.group for row in counted.rows] == ["files", "files", "comparison"]
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
            assert tower.golden_passed is (True if row.group == "files" else None)
            assert tower.to_host_least == pytest.approx(1, abs=1e-6)
            assert 0.8 < (tower.to_student or 0) < 1.000001
            assert tower.mean_recall == tower.host_mean_recall
            assert (tower.mean_recall or 0) > 0
            assert (tower.pictures, tower.captions) == (counted.dataset.pictures, counted.dataset.captions)
            assert tower.peak_bytes > tower.runtime_bytes


def test_calls_and_the_start_are_counted(counted: BenchmarkReport) -> None:
    counts = counted.rows[0].on_device["text"].instructions
    assert counts is not None
    assert (counts.median, counts.low, counts.high, counts.n, counts.start) == (1000, 1000, 1000, 5, 6014)
    assert counts.ids is not None
    assert 2 <= counts.ids <= counted.model.context


def test_a_plain_export_takes_texts_at_the_full_context_and_has_no_golden_vectors(counted: BenchmarkReport) -> None:
    text = counted.row("plain-onnx-fp32-arm64").on_device["text"]
    assert text.instructions is not None
    assert text.instructions.ids == counted.model.context
    assert text.golden is None
    assert "1 of" not in device_answer(counted)
    assert "all 4 files reach the bar on the golden vectors" in device_answer(counted)


def test_files_have_their_bytes_as_a_store_delivers_them(counted: BenchmarkReport) -> None:
    for row in counted.rows:
        assert row.size_bytes is not None
        for tower, size in (("image", row.size_bytes.image), ("text", row.size_bytes.text)):
            assert 0 < row.size_bytes.deflated[tower] < (size or 0)


def test_inputs_beyond_the_time_are_left_out_and_recall_is_of_the_others(shop: Path, tmp_path: Path) -> None:
    suite = SUITE.model_copy(update={"emulated": EmulatedConfig(seconds=1e-6)})
    row = benchmark_device(shop / "bundle", suite, tmp_path / "report", stand_in()).rows[0]
    assert row.on_device["image"].pictures <= 1
    assert row.on_device["text"].instructions is None


def test_with_no_time_for_them_only_counts_are_made(shop: Path, tmp_path: Path) -> None:
    suite = SUITE.model_copy(update={"emulated": EmulatedConfig(seconds=0)})
    report = benchmark_device(shop / "bundle", suite, tmp_path / "report", stand_in(tmp_path))
    assert report.dataset is None
    for tower in report.rows[0].on_device.values():
        assert (tower.pictures, tower.recall, tower.to_host, tower.to_student) == (0, None, None, None)
        assert tower.golden_passed
        assert tower.instructions is not None


def test_without_a_runtime_or_a_system_the_error_says_how_to_get_it(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = stand_in()
    machine.sites.clear()
    with pytest.raises(UserError, match=r"no file of .* runs on arm64.* has no onnxruntime. Add it: conaclip-edge"):
        benchmark_device(shop / "bundle", SUITE, tmp_path / "report", machine)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, _, err = command(monkeypatch, capfd, "benchmark", shop / "bundle", "--device", "arm64")
    assert code == 2
    assert err.strip().endswith("Make it: conaclip-edge doctor --prepare arm64")
