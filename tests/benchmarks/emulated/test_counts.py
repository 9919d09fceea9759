"""Towers of one shape take no more instructions than before: their counts are compared with those in counts/.

Where a version differs from the one that was counted, that is said, and nothing is compared. After an upgrade of a
runtime: python -m tests.tools.counts
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from conaclip_edge.benchmarks.report.regression import check_regression
from conaclip_edge.benchmarks.report.write import json_text
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, parse_report, read_report
from conaclip_edge.bundle.golden import read_golden
from conaclip_edge.runtime.emulated.run_tower import run_tower
from conaclip_edge.runtime.emulated.x86_64 import find_x86_64
from tests.helpers.benchmarks.devices import emulated_arm64
from tests.tools.counts import COUNTS, count

pytestmark = pytest.mark.long

UPDATE = "Counts are made again by: python -m tests.tools.counts"


def baseline(device: str) -> BenchmarkReport:
    return read_report(COUNTS / f"{device}.json")


@pytest.mark.parametrize("device", ["arm64", "x86-64"])
def test_towers_take_no_more_instructions_than_before_and_reach_their_golden_vectors(
    shipped: Path, tmp_path: Path, device: str
) -> None:
    if device == "arm64":
        emulated_arm64()
    report = count(shipped, device, tmp_path / "report")
    before = baseline(device)
    assert [row.id for row in report.rows] == [row.id for row in before.rows], UPDATE
    assert {row.target for row in report.rows} == {"onnx", "executorch"}
    assert all(tower.golden_passed for row in report.rows for tower in row.on_device.values())
    assert check_regression(report, before) == [], UPDATE


def test_one_node_more_is_found(shipped: Path, tmp_path: Path) -> None:
    before = baseline("x86-64")
    model = onnx.load(shipped / "onnx" / "image.int8.onnx")
    node = next(node for node in model.graph.node if node.op_type.endswith("Conv"))
    wanted, node.output[0] = node.output[0], "before"
    # of its own, so that no convolution takes it in
    extra = onnx.helper.make_node("Softplus", ["before"], [wanted])
    model.graph.node.insert(list(model.graph.node).index(node) + 1, extra)
    onnx.save(model, tmp_path / "image.int8.onnx")
    pixels = read_golden(shipped / "golden").pixels[:1]
    found = run_tower(find_x86_64(), tmp_path / "image.int8.onnx", pixels, counted=0).instructions
    assert found is not None
    values = json.loads(json_text(before))
    values["rows"][0]["on_device"]["image"]["instructions"]["median"] = found.median
    (worse,) = check_regression(parse_report(values, "x"), before)
    assert "image tower takes" in worse


def test_counts_of_another_version_are_not_compared_and_that_is_said() -> None:
    before = baseline("x86-64")
    values = json.loads(json_text(before))
    values["environment"]["versions"]["onnxruntime on x86-64"] = "99.1"
    values["rows"][0]["on_device"]["image"]["instructions"]["median"] *= 2
    found = check_regression(parse_report(values, "x"), before)
    assert len(found) == sum(row.target == "onnx" for row in before.rows)
    assert "counts compare within one version alone, and onnxruntime on x86-64 is 99.1, it was " in found[0]
