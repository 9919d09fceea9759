"""What a Core ML package declares about its inputs, enforced as strictly as a phone enforces it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from conaclip_edge.errors import UserError

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class InputSpec:
    """The shapes and the type that one input accepts.

    shape: the default shape; an image counts as [1, 3, H, W] (grey: [1, 1, H, W]).
    shapes: every accepted shape where they are enumerated or fixed, else empty.
    ranges: the least and the largest size (None: no limit) of every dimension where they are ranges, else empty.
    dtype: "float32", "float16" or "int32"; an image is "float32", 0..255.
    image: "RGB", "BGR" or "GRAYSCALE" for an image, else None.
    """

    shape: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    ranges: tuple[tuple[int, int | None], ...]
    dtype: str
    image: str | None = None

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of this shape may be given."""
        if self.shapes:
            return shape in self.shapes
        return len(shape) == len(self.ranges) and all(
            low <= size and (high is None or size <= high) for size, (low, high) in zip(shape, self.ranges, strict=True)
        )

    def describe(self) -> str:
        """Say which shapes are accepted."""
        if self.shapes:
            return " or ".join(str(list(shape)) for shape in self.shapes)
        sizes = [str(low) if low == high else f"{low}..{'' if high is None else high}" for low, high in self.ranges]
        return f"[{', '.join(sizes)}]"


def input_specs(description: Any, where: str) -> dict[str, InputSpec]:
    """Read the inputs of a protobuf model description.

    Errors: UserError for an input that is neither a tensor nor an image.
    """
    try:
        return {feature.name: _input_spec(feature, where) for feature in description.input}
    except ValueError as error:  # a kind of numbers or of picture that has no name
        raise UserError(f"{where}: an input is of no known kind: {error}. Export the package again.") from error


def check_inputs(
    specs: Mapping[str, InputSpec], given: Mapping[str, npt.ArrayLike], where: str
) -> dict[str, npt.NDArray[Any]]:
    """Check arrays against the declared inputs and return them as float32 or int32 arrays of an accepted shape.

    Images come as RGB [H, W, 3] or [1, 3, H, W], uint8 or float in 0..255, and are rounded to whole bytes, which is
    all that a pixel buffer holds.

    Errors: UserError for a missing or unknown name, or a wrong type, shape or value.
    """
    if set(given) != set(specs):
        raise UserError(f"{where}: takes the inputs {sorted(specs)}, but got {sorted(given)}.")
    arrays = {name: _check(name, spec, np.asarray(given[name]), where) for name, spec in specs.items()}
    _check_combination(specs, arrays, where)
    return arrays


def _input_spec(feature: Any, where: str) -> InputSpec:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        return _image_spec(feature.type.imageType)
    if kind != "multiArrayType":
        raise UserError(f"{where}: input '{feature.name}' is a '{kind}'; only tensors and images can be given.")
    array = feature.type.multiArrayType
    dtype = array.ArrayDataType.Name(array.dataType).lower()
    default = tuple(array.shape)
    flexibility = array.WhichOneof("ShapeFlexibility")
    if flexibility == "shapeRange":
        sizes = array.shapeRange.sizeRanges
        ranges = tuple((size.lowerBound, None if size.upperBound < 0 else size.upperBound) for size in sizes)
        return InputSpec(default, (), ranges, dtype)
    if flexibility == "enumeratedShapes":
        return InputSpec(default, tuple(tuple(one.shape) for one in array.enumeratedShapes.shapes), (), dtype)
    return InputSpec(default, (default,), (), dtype)


def _image_spec(image: Any) -> InputSpec:
    colour = image.ColorSpace.Name(image.colorSpace)
    channels = 1 if colour.startswith("GRAYSCALE") else 3
    default = (1, channels, image.height, image.width)
    flexibility = image.WhichOneof("SizeFlexibility")
    if flexibility == "imageSizeRange":
        pairs = (image.imageSizeRange.heightRange, image.imageSizeRange.widthRange)
        limits = tuple((pair.lowerBound, None if pair.upperBound < 0 else pair.upperBound) for pair in pairs)
        return InputSpec(default, (), ((1, 1), (channels, channels), *limits), "float32", colour)
    shapes: tuple[tuple[int, ...], ...] = (default,)
    if flexibility == "enumeratedSizes":
        shapes = tuple((1, channels, size.height, size.width) for size in image.enumeratedSizes.sizes)
    return InputSpec(default, shapes, (), "float32", colour)


def _check(name: str, spec: InputSpec, array: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    if spec.image is not None:
        array = _image_array(name, spec, array, where)
    elif spec.dtype == "int32":
        if not np.issubdtype(array.dtype, np.integer):
            raise UserError(f"{where}: input '{name}' takes whole numbers (int32), but got {array.dtype}.")
        if array.size and (array.min() < _INT32.min or array.max() > _INT32.max):
            raise UserError(f"{where}: input '{name}' holds a number that does not fit into int32.")
        array = array.astype(np.int32)
    elif not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{where}: input '{name}' takes {spec.dtype}, but got {array.dtype}.")
    if not spec.accepts(array.shape):
        raise UserError(f"{where}: input '{name}' takes the shape {spec.describe()}, but got {list(array.shape)}.")
    return array if spec.dtype == "int32" else array.astype(np.float32)


def _image_array(name: str, spec: InputSpec, array: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    if array.ndim == 3:
        array = array.transpose(2, 0, 1)[None]
    if not (array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)):
        raise UserError(f"{where}: image '{name}' takes uint8 or float, but got {array.dtype}.")
    if array.size and not (array.min() >= 0 and array.max() <= 255):
        raise UserError(f"{where}: image '{name}' takes values in 0..255, but got {array.min()}..{array.max()}.")
    array = np.rint(array).astype(np.float32)
    return array[:, ::-1] if spec.image == "BGR" else array


def _check_combination(specs: Mapping[str, InputSpec], arrays: Mapping[str, npt.NDArray[Any]], where: str) -> None:
    """Several enumerated inputs take their n-th shapes together: Core ML compiles one program for each n."""
    enumerated = {name: spec.shapes for name, spec in specs.items() if len(spec.shapes) > 1}
    if len(enumerated) < 2:
        return
    choices = [
        {index for index, shape in enumerate(shapes) if shape == arrays[name].shape}
        for name, shapes in enumerated.items()
    ]
    if not set.intersection(*choices):
        got = {name: list(arrays[name].shape) for name in enumerated}
        raise UserError(f"{where}: the shapes {got} are each accepted, but not together; take the n-th of every input.")
