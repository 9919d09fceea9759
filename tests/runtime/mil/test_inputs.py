"""What a Core ML program takes, and what it refuses as a phone would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.mil.program import MilProgram
from tests.helpers.coreml_programs import (
    EOS,
    built,
    convert,
    ct,
    edited,
    image_tower,
    mb,
    package,
    pictures,
    run_torch,
    save,
)


def test_image_input_is_scaled_as_declared_and_may_come_with_channels_last(tmp_path: Path) -> None:
    model = convert(image_tower(), pictures(1), (1, 3, 32, 32), precision="FLOAT32", image=True)
    program = MilProgram(save(model, tmp_path / "image.mlpackage"))
    assert program.inputs["pixel_values"].image == "RGB"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    planes = pixels.transpose(2, 0, 1)[None]
    expected = run_torch(image_tower(), planes.astype(np.float32) / 127.5 - 1)
    for array in (pixels, planes, pixels.astype(np.float32), np.clip(planes + 0.3, 0, 255)):
        np.testing.assert_allclose(program({"pixel_values": array})["embedding"], expected, atol=5e-6)


def image_program(path: Path, colour: str) -> Path:
    channels = 1 if colour == "GRAYSCALE" else 3

    def declare(spec: Any) -> None:
        kind = spec.description.input[0].type
        kind.imageType.height, kind.imageType.width = 2, 4
        kind.imageType.colorSpace = kind.imageType.ColorSpace.Value(colour)

    plain = built(
        path.with_name("plain.mlpackage"), [mb.TensorSpec((1, channels, 2, 4))], lambda x: mb.identity(x=x, name="same")
    )
    return edited(plain, path, declare)


def test_bgr_image_reaches_the_program_with_blue_first_and_grey_with_one_plane(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    (tmp_path / "grey").mkdir()
    blue_first = MilProgram(image_program(tmp_path / "bgr.mlpackage", "BGR"))({"x": pixels})["same"]
    np.testing.assert_array_equal(blue_first, pixels[..., ::-1].transpose(2, 0, 1)[None])
    grey = MilProgram(image_program(tmp_path / "grey" / "grey.mlpackage", "GRAYSCALE"))({"x": pixels[..., :1]})["same"]
    np.testing.assert_array_equal(grey, pixels[..., :1].transpose(2, 0, 1)[None])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"takes the inputs \['input_ids'\], but got \[\]"),
        ({"ids": np.ones((1, 8), np.int32)}, r"takes the inputs \['input_ids'\], but got \['ids'\]"),
        ({"input_ids": np.ones((1, 9), np.int32)}, r"takes the shape \[1, 12\] or .*, but got \[1, 9\]"),
        ({"input_ids": np.ones((2, 8), np.int32)}, r"takes the shape .*, but got \[2, 8\]"),
        ({"input_ids": np.ones(8, np.int32)}, r"takes the shape .*, but got \[8\]"),
        ({"input_ids": np.ones((1, 8))}, r"takes whole numbers \(int32\), but got float64"),
        ({"input_ids": np.full((1, 8), 2**31)}, r"holds a number that does not fit into int32"),
    ],
)
def test_input_that_is_not_as_enumerated_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MilProgram(package("text fp32"))(given)


def test_input_outside_its_ranges_is_refused() -> None:
    text, image = MilProgram(package("text fp16")), MilProgram(package("image fp16"))
    for shape in [(1, 1), (1, 21), (5, 8), (1, 8, 1)]:
        with pytest.raises(UserError, match=r"takes the shape \[1..4, 2..20\], but got"):
            text({"input_ids": np.full(shape, EOS)})
    with pytest.raises(UserError, match=r"takes the shape \[1..8, 3, 32, 32\], but got \[1, 3, 31, 32\]"):
        image({"pixel_values": np.zeros((1, 3, 31, 32), np.float32)})
    with pytest.raises(UserError, match="takes float32, but got uint8"):
        image({"pixel_values": np.zeros((1, 3, 32, 32), np.uint8)})


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((2, 4, 3), -1.0), r"takes values in 0..255, but got -1.0..-1.0"),
        (np.full((2, 4, 3), 256.0), r"takes values in 0..255, but got 256.0..256.0"),
        (np.full((2, 4, 3), np.nan), r"takes values in 0..255, but got nan"),
        (np.zeros((2, 4, 3), np.int64), r"takes uint8 or float, but got int64"),
        (np.zeros((4, 2, 3), np.uint8), r"takes the shape \[1, 3, 2, 4\], but got \[1, 3, 4, 2\]"),
    ],
)
def test_image_that_no_pixel_buffer_can_hold_is_refused(pixels: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        MilProgram(image_program(tmp_path / "image.mlpackage", "RGB"))({"x": pixels})


def test_several_enumerated_inputs_go_together(tmp_path: Path) -> None:
    def enumerate_shapes(spec: Any) -> None:
        for feature in spec.description.input:
            for length in (2, 3):
                feature.type.multiArrayType.enumeratedShapes.shapes.add().shape.extend([1, length])

    specs = [mb.TensorSpec((1, 3)), mb.TensorSpec((1, 3))]
    fixed = built(tmp_path / "fixed.mlpackage", specs, lambda x, y: mb.concat(values=(x, y), axis=0, name="pair"))

    def loosen(spec: Any) -> None:
        enumerate_shapes(spec)
        function = spec.mlProgram.functions["main"]
        block = function.block_specializations[function.opset]
        for value in (*function.inputs, *(out for op in block.operations if op.type == "concat" for out in op.outputs)):
            value.type.tensorType.dimensions[1].unknown.variadic = False

    program = MilProgram(edited(fixed, tmp_path / "loose.mlpackage", loosen))
    two, three = np.ones((1, 2), np.float32), np.ones((1, 3), np.float32)
    assert program({"x": two, "y": two})["pair"].shape == (2, 2)
    with pytest.raises(UserError, match=r"\{'x': \[1, 2\], 'y': \[1, 3\]\} are each accepted, but not together"):
        program({"x": two, "y": three})


def test_token_outside_the_table_is_refused_with_the_op_that_failed() -> None:
    with pytest.raises(UserError, match=r"text.mlpackage: the op '.*' \(gather\) failed: the indices reach from"):
        MilProgram(package("text fp16"))({"input_ids": np.array([[EOS + 1, EOS]])})


def test_value_of_another_shape_than_declared_is_refused(tmp_path: Path) -> None:
    any_length = [mb.TensorSpec((1, ct.converters.mil.mil.get_new_symbol()))]
    path = built(tmp_path / "squeezed.mlpackage", any_length, lambda x: mb.squeeze(x=x, name="flat"))

    def from_one(spec: Any) -> None:
        size = spec.description.input[0].type.multiArrayType.shapeRange.sizeRanges[1]
        size.lowerBound, size.upperBound = 1, -1

    program = MilProgram(edited(path, tmp_path / "from_one.mlpackage", from_one))
    assert program({"x": np.zeros((1, 30), np.float32)})["flat"].shape == (30,)
    with pytest.raises(UserError, match=r"op 'flat' \(squeeze\) declares 'flat' as \[.*\], but its value is \[\]"):
        program({"x": np.zeros((1, 1), np.float32)})
