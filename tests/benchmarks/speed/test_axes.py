"""The speed suite's own arithmetic: rounds, ratios, bars, counted multiplications, and where its numbers come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from conaclip_edge.benchmarks.report.results_page import results_page
from conaclip_edge.benchmarks.report.tables.speed_table import findings_table, speed_section
from conaclip_edge.benchmarks.report.write import json_text
from conaclip_edge.benchmarks.schema.speed import Finding, SpeedReport, exactly, read_speed
from conaclip_edge.benchmarks.schema.spread import Spread
from conaclip_edge.benchmarks.speed.axes import int8_peak, sizes, towers
from conaclip_edge.benchmarks.speed.plain_exports import plain_executorch_files, plain_onnx_files
from conaclip_edge.benchmarks.speed.two_clocks import Times, over, rounds
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.export.onnx.graph_builder import Graph
from conaclip_edge.export.onnx.towers import image_model
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.runtime.open_tower import open_tower
from tests.helpers.benchmarks.sample import sample_report
from tests.helpers.benchmarks.small_towers import picture_tower
from tests.helpers.small_students import student
from tests.tools.publish import publish


def test_every_call_runs_once_per_round_on_the_round_s_number_and_both_clocks_are_read():
    clocks = {"cpu": 0.0, "wall": 0.0}  # they go on only when a call says so
    asked: list[tuple[str, int]] = []

    def call(name: str, cpu: float, wall: float) -> Any:
        def run(number: int) -> None:
            asked.append((name, number))
            clocks["cpu"] += cpu
            clocks["wall"] += wall

        return run

    calls = {"slow": call("slow", 3, 8), "fast": call("fast", 1, 4)}
    times = rounds(calls, 40, warmup=2, clocks=lambda: (clocks["cpu"], clocks["wall"]))
    assert times["slow"].cpu.tolist() == [3] * 40
    assert times["fast"].wall.tolist() == [4] * 40
    pairs = [set(asked[first : first + 2]) for first in range(0, len(asked), 2)]
    assert pairs == [{("slow", max(0, number)), ("fast", max(0, number))} for number in range(-2, 40)]
    first_names = {asked[first][0] for first in range(0, len(asked), 2)}
    assert first_names == {"slow", "fast"}  # neither always goes first
    cpu, wall = over(times["fast"], times["slow"])
    assert (cpu.median, wall.median) == (pytest.approx(1 / 3), 0.5)


def finding(value: float, bar: float | None, most: bool = True) -> Finding:
    return Finding(axis="towers", what="a / b", value=exactly(value), n=30, bar=bar, most=most)


@pytest.mark.parametrize(
    ("value", "bar", "most", "met"),
    [(0.8, 0.8, True, True), (0.81, 0.8, True, False), (0.5, 0.5, False, True), (0.49, 0.5, False, False)],
)
def test_a_bar_is_met_on_its_own_side_alone(value, bar, most, met):
    assert finding(value, bar, most).met is met
    assert finding(value, None, most).met is None


def test_the_table_shows_what_was_missed_and_the_spread():
    spread = Spread(median=0.9, q25=0.85, q75=0.95)
    missed = finding(0.9, 0.8).model_copy(update={"value": spread, "wall": spread, "note": "one thread"})
    lines = findings_table([missed, finding(0.7, 0.8), finding(3, None)]).splitlines()
    assert len(lines) == 5
    assert "a / b (one thread)" in lines[2]
    assert lines[2].count("0.9 [0.85") == 2
    assert [("missed" in line) for line in lines[2:]] == [True, False, False]
    assert "✓" in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_multiplications_of_a_hand_written_tower_are_counted(tmp_path):
    path = picture_tower(tmp_path / "image.int8.onnx")
    assert int8_peak.multiplications(path, np.zeros((1, 3, 4, 4), np.float32)) == 3
    assert int8_peak.multiplications(path, np.zeros((5, 3, 4, 4), np.float32)) == 15


def test_multiplications_of_an_exported_tower_are_those_of_its_layers(shop):
    model = load_student(shop / "student").model
    size = model.config.image.size
    path = shop / "bundle/onnx/image.int8.onnx"
    counted = []

    def count(layer: torch.nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        counted.append(output.numel() // weight.shape[0] * weight.numel())

    for layer in model.image.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        model.encode_image(torch.zeros(1, 3, size, size))
    found = int8_peak.multiplications(path, np.zeros((1, 3, size, size), np.float32))
    # the exported last block of a ViT leaves out rows that nobody reads; attention is counted, which hooks do not see
    assert 0.5 * sum(counted) < found < 1.5 * sum(counted)


def test_attention_counts_the_same_as_one_operator_and_in_parts(tmp_path):
    towers_of = build_towers(student("vit"), "vit")
    counts = set()
    for opset in (22, 23):
        path = tmp_path / f"{opset}.onnx"
        onnx.save(image_model(towers_of, Graph(False, frozenset({"patch"}), opset), ""), path)
        assert any(node.op_type == "Attention" for node in onnx.load(path).graph.node) == (opset == 23)
        counts.add(
            int8_peak.multiplications(path, np.zeros((1, 3, towers_of.image_size, towers_of.image_size), np.float32))
        )
    assert len(counts) == 1


def test_the_share_of_the_peak_is_operations_over_time_over_the_peak():
    times = Times(cpu=np.array([2.0, 1.0, 4.0]), wall=np.array([9.0, 9.0, 9.0]))
    found = int8_peak.share(times, 100_000_000_000, exactly(200.0), "tower", 0.2)
    assert found.value.median == pytest.approx(100 / 2 / 200)
    assert found.met


def test_the_peak_is_that_of_the_fastest_product():
    seconds = {"8": 1e-6, "16": 1e-9}

    def timer(calls: dict[str, Any], *_: int) -> dict[str, Times]:
        return {name: Times(np.full(3, seconds[name]), np.ones(3)) for name in calls}

    assert int8_peak.peak(3, 0, (8, 16), timer).median == pytest.approx(16**3 / 1e-9 / 1e9)


def test_text_files_are_compared_with_their_own_float_parameters_and_clip(shop):
    from conaclip_edge.bundle.manifest import read_manifest

    manifest = read_manifest(shop / "bundle")
    (file,) = (one for one in manifest.files if one.tower == "text" and one.path.endswith(".onnx") and not one.form)
    own, clip = sizes.measure(manifest, clip_text_bytes=10 * file.size)
    assert own.value.median == file.size / file.float_size
    assert clip.value.median == pytest.approx(0.1)
    assert clip.met
    kept = {one.what.split()[0]: one.value.median for one in sizes.cosines(manifest)}
    assert kept == {
        one.tower: one.gate.cosine.mean for one in manifest.files if not (one.form or one.path.endswith(".ort"))
    }


def test_files_are_timed_on_the_same_inputs_side_by_side(shop):
    path = shop / "bundle/onnx/text.int8.onnx"
    ids = [np.full((1, length), 3, np.int32) for length in (2, 8)]
    found, times = towers.measure(
        "towers", {"a": path, "b": path}, dict.fromkeys("ab", ids), [("a", "b", 1e9), ("b", "a", None)], 30, 0
    )
    assert [one.what for one in found] == ["a / b", "b / a"]
    assert found[0].met
    assert found[1].met is None
    assert {len(one.cpu) for one in times.values()} == {30}


def test_the_plain_exports_take_texts_of_any_length_and_give_the_student(shop, tmp_path):
    files = plain_onnx_files(shop / "student", tmp_path)
    student = load_student(shop / "student")
    for text in ("w4", "w4 w7 w9"):
        ids = student.tokenizer([text])
        with torch.inference_mode():
            wanted = student.model.encode_text(torch.from_numpy(ids)).numpy()
        assert (open_tower(files["text fp32"])(ids) * wanted).sum() == pytest.approx(1, abs=1e-4)
        assert (open_tower(files["text int8"])(ids) * wanted).sum() > 0.5


def test_executorch_s_own_int8_is_the_student_too(shop, tmp_path):
    files = plain_executorch_files(shop / "student", tmp_path)
    student = load_student(shop / "student")
    size = student.model.config.image.size
    pixels = np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)
    with torch.inference_mode():
        wanted = student.model.encode_image(torch.from_numpy(pixels)).numpy()
    assert (open_tower(files["image int8"])(pixels) * wanted).sum() > 0.9


def speed_report() -> SpeedReport:
    return SpeedReport(
        created="2026-01-01T00:00:00Z",
        environment=sample_report().environment,
        suite=SpeedConfig(),
        models={"ViT": "vit", "mobile": "demo"},
        findings=(finding(0.9, 0.8), finding(0.7, 0.8)),
    )


def test_a_published_speed_report_is_the_readme_s_table(tmp_path):
    benchmarks = tmp_path / "benchmarks"
    (benchmarks / "results").mkdir(parents=True)
    (tmp_path / "docs/results").mkdir(parents=True)
    (tmp_path / "speed.json").write_text(json_text(speed_report()), "utf-8")
    publish(tmp_path / "speed.json", "speed", tmp_path)
    assert read_speed(benchmarks / "results/speed.json") == speed_report()
    text = (tmp_path / "docs/results/benchmarks.md").read_text("utf-8")
    assert text == results_page(benchmarks)
    assert speed_section(speed_report()) in text
    assert speed_report().environment.cpu in text
