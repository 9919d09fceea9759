from __future__ import annotations

import pytest

from conaclip_edge.benchmarks.measure.candidates import shipped
from conaclip_edge.benchmarks.schema.row import EqualBudget
from conaclip_edge.benchmarks.suite.build_rows import training_rows
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from tests.helpers.benchmarks.small_towers import small_bundle

RECALL = {way: {"1": 10.0, "5": 20.0, "10": 30.0} for way in ("t2i", "i2t")}
COMPARISON = {
    "n": 178,
    "split": "test",
    "seeds": [0, 1],
    "rows": {
        "teacher": {"recall": RECALL, "mean": 20.0},
        "conaclip": {"recall": RECALL, "mean": 20.0, "mean_recall": [19.0, 21.0], "spread": 1.4, "seconds": [9.0, 9.1]},
    },
}


def test_rows_of_equal_budget_are_taken_over_as_they_are():
    teacher, student = training_rows(COMPARISON, "here")
    assert (teacher.id, student.id) == ("teacher", "conaclip")
    assert student.recall == RECALL
    assert student.equal_budget == EqualBudget(split="test", pictures=178, seeds=2, spread=1.4, seconds=(9.0, 9.1))
    assert teacher.equal_budget is not None
    assert teacher.equal_budget.seeds is None
    assert not student.latency_ms


@pytest.mark.parametrize("broken", [{}, {"rows": []}, {"rows": {"a": {}}, "split": "test", "n": 1}, []])
def test_a_comparison_of_another_shape_is_one_line(broken):
    with pytest.raises(UserError, match="not what 'conaclip-edge compare' writes"):
        training_rows(broken, "here")


def test_files_of_one_target_precision_and_format_make_a_row(tmp_path):
    names = [f"onnx/{tower}.{kind}" for tower in ("image", "text") for kind in ("int8.onnx", "int8.ort", "fp32.onnx")]
    files = dict.fromkeys(names, "onnx") | {f"executorch/{tower}.int8.pte": "executorch" for tower in ("image", "text")}
    bundle = small_bundle(tmp_path / "bundle", files)
    found = {one.spec.row: one for one in shipped(bundle, read_manifest(bundle), BenchmarkConfig())}
    assert set(found) == {"onnx-int8", "onnx-int8-ort", "onnx-fp32", "executorch-int8"}
    assert found["onnx-int8-ort"].label == "ONNX int8 (.ort)"
    assert found["onnx-int8-ort"].spec.image == bundle / "onnx" / "image.int8.ort"
    assert found["executorch-int8"].sizes.total == 2000
    only = BenchmarkConfig(targets=("onnx",), precisions=("fp32",))
    assert [one.spec.row for one in shipped(bundle, read_manifest(bundle), only)] == ["onnx-fp32"]
    with pytest.raises(
        UserError, match=r"none of the suite's targets \(coreml\) .* it has executorch int8, onnx fp32, onnx int8"
    ):
        shipped(bundle, read_manifest(bundle), BenchmarkConfig(targets=("coreml",)))
