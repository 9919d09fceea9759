"""What the gate found is said in plain words: on what, how much is allowed, and why a row below the bar passed."""

from __future__ import annotations

from typing import Any

import pytest

from conaclip_edge.bundle.gate_words import measured_text, on_fewer, passed_below, tolerance_text, widest
from conaclip_edge.bundle.manifest import Cosines, ExportedFile, Gate, Retrieval

COSINES = Cosines(mean=1.0, p1=1.0, min=1.0)
RECALL = {"t2i": {"1": 20.0, "5": 40.0, "10": 60.0}, "i2t": {"1": 20.0, "5": 40.0, "10": 60.0}}


def retrieval(share: float = 1.0, worse: int = 0, better: int = 0, width: float = 0.05) -> Retrieval:
    return Retrieval(
        recall=RECALL,
        relative_recall={"t2i": share, "i2t": 1.0},
        worse={"t2i": worse, "i2t": 0},
        better={"t2i": better, "i2t": 0},
        interval_95={"t2i": (share - width / 2, share + width / 2), "i2t": (1.0, 1.0)},
    )


def gate(**changes: Any) -> Gate:
    values: dict[str, Any] = {
        "dataset": "set",
        "fingerprint": "f",
        "split": "val",
        "pictures": 136,
        "captions": 200,
        "executed": "native",
        "host": "h",
        "cosine": COSINES,
        "norm_error": 0.0,
        "not_finite": 0,
        "recall_student": RECALL,
        "alone": retrieval(),
        "pair": retrieval(),
        "golden": COSINES,
        "chance": 3.9,
    }
    return Gate(**(values | changes))


def file(found: Gate) -> ExportedFile:
    return ExportedFile(
        path="onnx/image.int8.onnx",
        target="onnx",
        precision="int8",
        tower="image",
        backend="onnxruntime",
        size=1,
        float_size=4,
        settings={"min_cosine": 0.999, "min_relative_recall": 0.99},
        notes={},
        calibration=None,
        gate=found,
    )


def test_the_tolerance_and_the_sign_test_are_said() -> None:
    text = tolerance_text([file(gate())])
    assert "a mean cosine of 0.999 in int8 and 99 % of its recall" in text
    assert "sign test" in text


def test_a_row_below_the_bar_says_why_it_passed() -> None:
    (reason,) = passed_below([file(gate(alone=retrieval(0.982, 3, 1)))])
    assert reason == (
        "onnx/image.int8.onnx: kept 98.2 % [95.7 to 100.7] of the recall from text to picture, below 99 %: passed, "
        "since 3 queries got worse and 1 better, which chance gives 31 % of the time"
    )
    assert passed_below([file(gate(pair=retrieval(0.982, 3, 1)))])[0].startswith("both towers of onnx/int8.onnx: kept")
    assert passed_below([file(gate(alone=retrieval(0.995, 3, 1)))]) == []


def test_what_was_measured_stands_beside_chance() -> None:
    text = measured_text(gate())
    assert "136 pictures and 200 captions" in text
    assert "mean recall of the float32 model 40.0 %, chance 3.9 %" in text
    assert "too few" not in text
    assert "chance 3.9 %, teacher 55.5 %" in measured_text(gate(teacher_mean_recall=55.5))


@pytest.mark.parametrize("changes", [{"pictures": 12}, {"alone": retrieval(width=0.3)}])
def test_few_pictures_or_a_wide_interval_tell_nothing_of_recall(changes: dict[str, Any]) -> None:
    assert "too few to tell whether recall was lost" in measured_text(gate(**changes))


def test_a_gate_on_more_than_val_says_so() -> None:
    assert "Val alone was too small" in measured_text(gate(split="val + test"))


def test_without_captions_it_is_said_what_cannot_be_measured() -> None:
    text = measured_text(gate(found="teacher pictures", pair=None))
    assert "pictures find teacher pictures" in text
    assert "recall from texts cannot be measured" in text


def test_a_file_that_was_run_on_fewer_pictures_is_named_and_the_text_is_of_the_most():
    few, all_of_them = file(gate(pictures=4, captions=6)), file(gate())
    assert widest([few, all_of_them]).pictures == 136
    assert on_fewer([all_of_them, all_of_them]) == []
    (line,) = on_fewer([few, all_of_them])
    assert "on the first 4 of the 136 pictures" in line
