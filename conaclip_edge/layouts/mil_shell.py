"""Names, types and shapes that a client asks of a Core ML package, as operations around the exported program."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from coremltools.converters.mil.backend.mil import helper
from coremltools.proto import FeatureTypes_pb2, MIL_pb2

from conaclip_edge.export.coreml.package import SPECIFICATION
from conaclip_edge.runtime.mil.package import read_package

_FLOAT, _INT, _BOOL = (getattr(MIL_pb2.DataType, name) for name in ("FLOAT32", "INT32", "BOOL"))
_CASTS = {_FLOAT: "fp32", _INT: "int32"}
_OPEN = "length"  # any text stands for a size that is not fixed


class MilShell:
    """A copy of a package with one input and one output, to be given others; weights and arithmetic stay.

    Args:
        package: of the tower.
        path: where the copy goes.
    """

    def __init__(self, package: Path, path: Path):
        shutil.copytree(package, path)
        self._file = path / SPECIFICATION
        self._spec = read_package(path)[0]
        function = self._spec.mlProgram.functions["main"]
        self._block, self._given = function.block_specializations[function.opset], function.inputs[0]
        (self._input,), (self._output,) = self._spec.description.input, self._spec.description.output
        self._tower_input, self._embedding = str(self._given.name), str(self._output.name)
        self._before: list[Any] = []
        self._tower = list(self._block.operations)
        self._behind: list[Any] = []

    def takes_picture(self, name: str) -> None:
        """Take a picture, RGB in 0..255, in place of pixels [1, 3, H, W] in 0..1."""
        if self._input.type.WhichOneof("Type") == "imageType":
            self._takes(name, name)
            return
        height, width = (dim.constant.size for dim in self._given.type.tensorType.dimensions[2:])
        self._input.type.Clear()
        image = self._input.type.imageType
        image.width, image.height, image.colorSpace = width, height, FeatureTypes_pb2.ImageFeatureType.RGB
        self._input.shortDescription = f"RGB picture, {width} x {height} pixels."
        pixels = self._add("mul", _FLOAT, (1, 3, height, width), x=name, y=self._constant(np.float32(1 / 255)))
        self._takes(name, pixels)

    def takes_ids(self, name: str, as_float: bool, eos_id: int) -> None:
        """Take ids [1, length], of which a text without EOS gets one in its last place.

        Args:
            name: of the input.
            as_float: they are float32 numbers; int32 otherwise.
            eos_id: ends a text.
        """
        shape, ids = (1, _OPEN), name
        if as_float:
            self._given.type.tensorType.dataType = _FLOAT
            self._input.type.multiArrayType.dataType = FeatureTypes_pb2.ArrayFeatureType.FLOAT32
            ids = self._cast(name, _INT, shape)
        eos, row = self._constant(np.int32(eos_id)), self._constant(np.asarray([[eos_id]], np.int32))
        found = self._cast(self._add("equal", _BOOL, shape, x=ids, y=eos), _INT, shape)
        yes, no = (self._constant(np.bool_(value)) for value in (True, False))
        count = self._add("reduce_max", _INT, (1, 1), x=found, axes=self._row(1), keep_dims=yes)
        ends = self._add("equal", _BOOL, (1, 1), x=count, y=self._constant(np.int32(1)))
        begin = {"begin": self._row(0, -1), "begin_mask": self._row(True, False), "end": self._row(0, 0)}
        tail = self._add("slice_by_index", _INT, (1, 1), x=ids, **begin, end_mask=self._row(True, True))
        end = {"begin": self._row(0, 0), "begin_mask": self._row(True, True), "end": self._row(0, -1)}
        head = self._add("slice_by_index", _INT, shape, x=ids, **end, end_mask=self._row(True, False))
        last = self._add("select", _INT, (1, 1), cond=ends, a=tail, b=row)
        axis = self._constant(np.int32(1))
        self._takes(name, self._add("concat", _INT, shape, values=(head, last), axis=axis, interleave=no))

    def gives(self, name: str, width: int) -> None:
        """Name the embedding, filled up by zeros to a width, and write the package."""
        array = self._output.type.multiArrayType
        size = int(array.shape[-1])
        if width > size:
            how = {"pad": self._row(0, 0, 0, width - size), "mode": self._constant("constant")}
            how["constant_val"] = self._constant(np.float32(0))
            pad = _operation("pad", {"x": self._embedding} | how)
            _finish(pad, name, helper.create_valuetype_tensor((1, width), _FLOAT))
            self._behind.append(pad)
            array.shape[-1] = width
        else:
            self._renamed(self._embedding, name)
        self._output.name = name
        self._output.shortDescription = f"Unit vector [1, {max(width, size)}]."
        whole = [*self._before, *self._tower, *self._behind]
        copies = [MIL_pb2.Operation.FromString(one.SerializeToString()) for one in whole]
        del self._block.operations[:], self._block.outputs[:]
        self._block.operations.extend(copies)
        self._block.outputs.append(name)
        self._file.write_bytes(self._spec.SerializeToString(deterministic=True))

    def _takes(self, name: str, value: str) -> None:
        """Name the input, and give the tower a value made of it."""
        self._renamed(self._tower_input, value)
        self._given.name = self._input.name = name

    def _renamed(self, old: str, new: str) -> None:
        for operation in self._tower:
            for argument in operation.inputs.values():
                for binding in argument.arguments:
                    if binding.WhichOneof("binding") == "name" and binding.name == old:
                        binding.name = new
            for output in operation.outputs:
                output.name = new if output.name == old else output.name

    def _cast(self, value: str, kind: int, shape: Sequence[int | str]) -> str:
        return self._add("cast", kind, shape, x=value, dtype=self._constant(_CASTS[kind]))

    def _row(self, *values: int | bool) -> str:
        return self._constant(np.asarray(values, np.bool_ if isinstance(values[0], bool) else np.int32))

    def _constant(self, value: Any) -> str:
        """Store a constant before the tower, where all that follows sees it; returns its name."""
        made = helper.create_scalar_value(value) if np.ndim(value) == 0 else helper.create_tensor_value(value)
        operation = MIL_pb2.Operation(type="const")
        operation.attributes["val"].CopyFrom(made)
        return self._named(operation, made.type)

    def _add(self, kind: str, numbers: int, shape: Sequence[int | str], **inputs: str | tuple[str, ...]) -> str:
        """Put an operation before the tower; returns the name of its output."""
        made = helper.create_valuetype_tensor(shape, numbers)
        return self._named(_operation(kind, inputs), made)

    def _named(self, operation: Any, made: Any) -> str:
        name = f"client_{len(self._before)}"
        _finish(operation, name, made)
        self._before.append(operation)
        return name


def _operation(kind: str, inputs: Mapping[str, str | tuple[str, ...]]) -> Any:
    operation = MIL_pb2.Operation(type=kind)
    for name, values in inputs.items():
        for value in (values,) if isinstance(values, str) else values:
            operation.inputs[name].arguments.add().name = value
    return operation


def _finish(operation: Any, name: str, made: Any) -> None:
    output = operation.outputs.add()
    output.name = name
    output.type.CopyFrom(made)
    operation.attributes["name"].CopyFrom(helper.create_scalar_value(name))
