"""Whole Core ML programs, converted here from small random towers, against torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import types

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.mil.program import MilProgram, OutputSpec, package_activation_stats
from tests.helpers.coreml_programs import (
    EOS,
    LENGTHS,
    RANGE,
    TextTower,
    built,
    convert,
    converted,
    edited,
    image_tower,
    mb,
    package,
    pictures,
    run_torch,
    save,
    seeded,
    text_tower,
    texts,
    worst_cosine,
)


def test_half_precision_image_program_is_the_tower_but_for_rounding() -> None:
    program, x = MilProgram(package("image fp16")), pictures(8)
    got, expected = program({"pixel_values": x})["embedding"], run_torch(image_tower(), x)
    assert worst_cosine(got, expected) > 0.99999
    assert program.nan_or_inf() == {}


def test_every_value_of_a_half_precision_program_is_a_half_precision_number() -> None:
    program, x = MilProgram(package("image fp16")), pictures(2)
    values: dict[str, np.ndarray] = {}
    program({"pixel_values": x}, observer=lambda name, value: values.setdefault(name, value.copy()))
    wide = {name for name, value in values.items() if not np.array_equal(value, value.astype(np.float16))}
    assert wide == {"pixel_values"}, "only the input of the program is declared in single precision"
    assert len(values) > 30


def test_half_precision_text_program_is_the_tower_at_every_length_and_batch() -> None:
    program = MilProgram(package("text fp16"))
    for length in range(2, 21):
        ids = texts(1 + length % 4, length, seed=length)
        got = program({"input_ids": ids})["embedding"]
        assert worst_cosine(got, run_torch(text_tower(), ids)) > 0.99999, length


def test_precision_fp32_leaves_out_the_rounding_of_values_only() -> None:
    x = pictures(4)
    expected = run_torch(image_tower(), x)
    unrounded = MilProgram(package("image fp16"), precision="fp32")({"pixel_values": x})["embedding"]
    halves = copy.deepcopy(image_tower()).half().float()
    np.testing.assert_allclose(unrounded, run_torch(halves, x), atol=2e-4)
    rounded = MilProgram(package("image fp16"))({"pixel_values": x})["embedding"]
    assert np.abs(unrounded - expected).mean() < np.abs(rounded - expected).mean()


def test_single_precision_programs_are_the_towers(tmp_path: Path) -> None:
    image = MilProgram(save(converted("image fp32"), tmp_path / "image.mlpackage"))
    x = pictures(1)
    np.testing.assert_allclose(image({"pixel_values": x})["embedding"], run_torch(image_tower(), x), atol=2e-6)
    text = MilProgram(package("text fp32"))
    for length in LENGTHS:
        ids = texts(1, length, seed=length)
        np.testing.assert_allclose(text({"input_ids": ids})["embedding"], run_torch(text_tower(), ids), atol=2e-6)


def test_padding_behind_the_first_eos_changes_nothing() -> None:
    program = MilProgram(package("text fp16"))
    short = np.array([[3, 9, EOS, EOS]], np.int32)
    padded = np.array([[3, 9, EOS, 5, EOS, 7, EOS]], np.int32)
    got = [program({"input_ids": ids})["embedding"] for ids in (short, padded)]
    np.testing.assert_allclose(got[0], got[1], atol=2e-3)


def test_calls_do_not_disturb_each_other() -> None:
    program, x = MilProgram(package("image fp16")), pictures(2)
    first = program({"pixel_values": x})["embedding"]
    kept = first.copy()
    first[:] = 7
    program({"pixel_values": pictures(2, seed=1)})
    np.testing.assert_array_equal(program({"pixel_values": x})["embedding"], kept)


def test_program_tells_its_inputs_and_outputs() -> None:
    assert MilProgram(package("image fp16")).inputs["pixel_values"].ranges == ((1, 8), (3, 3), (32, 32), (32, 32))
    text = MilProgram(package("text fp16"))
    assert (text.inputs["input_ids"].shape, text.inputs["input_ids"].dtype) == ((1, 12), "int32")
    assert text.outputs == {"embedding": OutputSpec((None, 16), "fp32")}
    listed = MilProgram(package("text fp32"))
    assert sorted(listed.inputs["input_ids"].shapes) == [(1, length) for length in LENGTHS]
    assert listed.outputs == {"embedding": OutputSpec((1, 16), "fp32")}


# Overflow in half precision.


def half_program(path: Path, body: Callable[..., Any]) -> MilProgram:
    return MilProgram(built(path, [mb.TensorSpec((1, 4), dtype=types.fp16)], body, target="iOS18"))


def test_overflow_is_counted_at_the_op_that_made_it_and_not_where_it_passes(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        y = mb.mul(x=x, y=np.float16(1000), name="grown")
        z = mb.sub(x=y, y=y, name="lost")
        return mb.add(x=z, y=np.float16(1), name="later")

    program = half_program(tmp_path / "overflow.mlpackage", body)
    program({"x": np.array([[1, 2, 3, 4]], np.float16)})
    assert program.nan_or_inf() == {}
    out = program({"x": np.array([[1, 2, 300, 400]], np.float16)})["later"]
    assert np.isnan(out[0, 2:]).all()
    assert program.nan_or_inf() == {"grown (mul)": 2, "lost (sub)": 2}
    program({"x": np.array([[1, 2, 3, 400]], np.float16)})
    assert program.nan_or_inf() == {"grown (mul)": 3, "lost (sub)": 3}


def test_sum_of_squares_beyond_half_precision_is_named(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        total = mb.reduce_sum(x=mb.mul(x=x, y=x, name="squares"), axes=[-1], keep_dims=True, name="total")
        return mb.mul(x=x, y=mb.rsqrt(x=total, epsilon=np.float16(1e-3), name="scale"), name="embedding")

    path = tmp_path / "norm.mlpackage"
    program = half_program(path, body)
    x = np.full((1, 4), 200, np.float16)
    assert program({"x": x})["embedding"].tolist() == [[0.0] * 4]
    assert program.nan_or_inf() == {"total (reduce_sum)": 1}
    single = MilProgram(path, precision="fp32")
    assert single({"x": x})["embedding"].tolist() == [[0.5] * 4]
    assert single.nan_or_inf() == {}


@pytest.mark.parametrize("value", [float("-inf"), torch.finfo(torch.float32).min])
def test_infinite_causal_mask_is_found_when_the_program_is_loaded(value: float, tmp_path: Path) -> None:
    tower = seeded(lambda: TextTower(mask_value=value))
    program = MilProgram(save(convert(tower, texts(1, 12), RANGE), tmp_path / "masked.mlpackage"))
    assert program.nan_or_inf() == {"mask_to_fp16 (const)": 21 * 20 // 2}


# Observing.


def test_observer_sees_inputs_and_results_in_order(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        y = mb.mul(x=x, y=np.float32(2), name="doubled")
        return mb.cast(x=mb.add(x=y, y=np.float32(1), name="added"), dtype="int32", name="whole")

    program = MilProgram(built(tmp_path / "small.mlpackage", [mb.TensorSpec((1, 2))], body))
    seen: list[tuple[str, list[Any]]] = []
    program({"x": np.array([[1, 3]], np.float32)}, observer=lambda name, value: seen.append((name, value.tolist())))
    assert seen == [("x", [[1, 3]]), ("doubled", [[2, 6]]), ("added", [[3, 7]])]


def test_ranges_are_those_of_all_batches_not_of_the_last() -> None:
    program = MilProgram(package("image fp16"))
    batches = [{"pixel_values": pictures(2, seed) * scale} for seed, scale in enumerate((1.0, 9.0, 0.1))]
    together = package_activation_stats(
        program, [{"pixel_values": np.concatenate([b["pixel_values"] for b in batches])}]
    )
    stats = package_activation_stats(program, batches)
    assert stats == together
    assert stats["pixel_values"]["rmax"] == pytest.approx(max(b["pixel_values"].max() for b in batches), rel=1e-3)
    assert len(stats) > 30


def test_ranges_of_nothing_or_of_infinity_are_refused(tmp_path: Path) -> None:
    program = half_program(tmp_path / "grown.mlpackage", lambda x: mb.mul(x=x, y=np.float16(1000), name="grown"))
    with pytest.raises(UserError, match="no calibration batch was given"):
        package_activation_stats(program, [])
    with pytest.raises(UserError, match="'grown' is inf or NaN while calibrating"):
        package_activation_stats(program, [{"x": np.full((1, 4), 300, np.float16)}])


# Faults that a gate has to see: each makes a program differ from its tower by more than rounding does.


@pytest.mark.parametrize("fault", ["relu for gelu", "softmax over the wrong axis", "swapped query and key"])
def test_planted_fault_is_seen(fault: str, tmp_path: Path) -> None:
    good = save(converted("text fp16"), tmp_path / "good.mlpackage")

    def plant(spec: Any) -> None:
        function = spec.mlProgram.functions["main"]
        found = list(function.block_specializations[function.opset].operations)
        if fault == "relu for gelu":
            for op in found:
                if op.type == "gelu":
                    op.type = "relu"
                    del op.inputs["mode"]
        elif fault == "softmax over the wrong axis":
            names = {op.inputs["axis"].arguments[0].name for op in found if op.type == "softmax"}
            for op in found:
                if op.type == "const" and op.outputs[0].name in names:
                    op.attributes["val"].immediateValue.tensor.ints.values[0] = -2
        else:
            query, key = [op for op in found if op.type == "linear"][:2]
            for side in ("weight", "bias"):
                one, other = query.inputs[side].arguments[0], key.inputs[side].arguments[0]
                one.name, other.name = other.name, one.name
            block = function.block_specializations[function.opset]
            block.operations.sort(key=lambda op: op.type != "const")

    program = MilProgram(edited(good, tmp_path / "bad.mlpackage", plant))
    ids = texts(4, 12)
    assert worst_cosine(program({"input_ids": ids})["embedding"], run_torch(text_tower(), ids)) < 0.9999
