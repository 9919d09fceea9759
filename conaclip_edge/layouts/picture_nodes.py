"""A bundle's preprocessing as ONNX nodes: resize with antialiasing as Pillow does it, crop, scale."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from conaclip_edge.data.preprocess import Preprocess


def picture_nodes(
    rgb: str, preprocess: Preprocess, pixels: str, scaled: str
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Write the steps behind decoding.

    Args:
        rgb: name of uint8 [height, width, 3].
        preprocess: size, crop or squash, and the filter.
        pixels: name of the result uint8 [1, 3, size, size].
        scaled: name of the same as float32 in 0..1.

    Returns:
        The nodes, and the constants that they name.
    """
    writer = _Writer()
    planes = writer.add("Unsqueeze", writer.add("Transpose", rgb, perm=[2, 0, 1]), writer.whole(0))
    sides = writer.add("Shape", planes, start=2)
    wanted = writer.whole(preprocess.size, preprocess.size)
    target = wanted
    if preprocess.resize == "crop":
        # in double, as Python computes it; Round takes the even one of two neighbours, as Python does
        exact = writer.add("Cast", sides, to=TensorProto.DOUBLE)
        shorter = writer.add("ReduceMin", exact, writer.whole(0))
        scale = writer.add("Div", writer.add("Cast", writer.whole(preprocess.size), to=TensorProto.DOUBLE), shorter)
        rounded = writer.add("Round", writer.add("Mul", exact, scale))
        target = writer.add("Max", writer.add("Cast", rounded, to=TensorProto.INT64), wanted)
    cubic = {"mode": "cubic", "cubic_coeff_a": -0.5} if preprocess.resample == "bicubic" else {"mode": "linear"}
    resized = writer.add("Resize", planes, "", "", target, axes=[2, 3], antialias=1, exclude_outside=1, **cubic)
    start = writer.add("Div", writer.add("Sub", target, wanted), writer.whole(2))
    end = writer.add("Add", start, wanted)
    writer.add("Slice", resized, start, end, writer.whole(2, 3), output=pixels)
    writer.add("Div", writer.add("Cast", pixels, to=TensorProto.FLOAT), writer.scalar(255.0), output=scaled)
    return writer.nodes, writer.constants


class _Writer:
    """Names of nodes and constants begin with "file."."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str, output: str = "", **attributes: object) -> str:
        name = output or f"file.{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def whole(self, *values: int) -> str:
        return self._stored("n" + "_".join(map(str, values)), np.asarray(values, np.int64))

    def scalar(self, value: float) -> str:
        return self._stored(f"f{value:g}", np.asarray(value, np.float32))

    def _stored(self, name: str, value: np.ndarray) -> str:
        name = f"file.{name}"
        if all(one.name != name for one in self.constants):
            self.constants.append(numpy_helper.from_array(value, name))
        return name
