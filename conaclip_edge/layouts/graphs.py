"""Names, types and shapes that a client asks for, as nodes around an exported graph. Weights and arithmetic stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from conaclip_edge.layouts.onnx_file import OnnxFile

_SAME = 1e-5  # largest difference of a number of an embedding between one picture per call and two


@dataclass(frozen=True)
class Ids:
    """The text input of a client.

    Attributes:
        name: of the input.
        type: TensorProto.INT32, INT64 or FLOAT.
        shape: two sizes, or names of sizes that are open.
        unused: names of further inputs of the same type and shape, such as a mask, which change nothing: the tower sees
            no position behind the first EOS.
        mask_type: their type; the same where left out.
    """

    name: str
    type: int
    shape: tuple[int | str, int | str]
    unused: tuple[str, ...] = ()
    mask_type: int | None = None


def text_graph(path: Path, ids: Ids, outputs: Sequence[str], eos_id: int, width: int | None = None) -> onnx.ModelProto:
    """Give a text tower a client's input and outputs.

    A text without EOS gets one in its last place, since some clients cut long texts and their EOS with them. Then
    padding behind the longest text of a call is cut off, so a text takes the time of its own length.

    Args:
        path: of the tower: input_ids int32 [batch, length] to embedding [batch, d].
        ids: what the client gives.
        outputs: names; all are the embedding.
        eos_id: ends a text.
        width: zeros fill the embedding up to so many numbers, which changes no cosine; None leaves it as it is.
    """
    model = onnx.load(path)
    shell = _Shell(model, "input_ids")
    given = shell.given(ids.name, ids.type, ids.shape)
    for name in ids.unused:
        shell.given(name, ids.mask_type or ids.type, ids.shape)
    if ids.type != TensorProto.INT32:
        given = shell.before("Cast", given, to=TensorProto.INT32)
    eos = shell.constant("eos", np.asarray(eos_id, np.int32))
    found = shell.before("Cast", shell.before("Equal", given, eos), to=TensorProto.INT32)
    ends = shell.before("Cast", shell.before("ReduceMax", found, shell.axis(1)), to=TensorProto.BOOL)
    edge, first, last = shell.axis(-1), shell.axis(0), shell.axis(np.iinfo(np.int64).max)
    head = shell.before("Slice", given, first, edge, shell.axis(1))
    tail = shell.before("Slice", given, edge, last, shell.axis(1))
    whole = shell.before("Concat", head, shell.before("Where", ends, tail, eos), axis=1)
    # padding costs time, and in int8 its values move the scales of a whole layer
    found = shell.before("Cast", shell.before("Equal", whole, eos), to=TensorProto.INT32)
    longest = shell.before("ReduceMax", shell.before("ArgMax", found, axis=1, keepdims=0), shell.axis(0))
    shell.feed("Slice", whole, shell.axis(0), shell.before("Add", longest, shell.axis(1)), shell.axis(1))
    shell.results(outputs, ids.shape[0], width)
    return shell.finished()


def image_graph(
    path: Path,
    name: str,
    outputs: Sequence[str],
    batch: int | str = 1,
    normalised: tuple[Sequence[float], Sequence[float]] | None = None,
    width: int | None = None,
) -> onnx.ModelProto:
    """Give an image tower a client's input and outputs.

    Args:
        path: of the tower: pixel_values float32 [1 or batch, 3, size, size] in 0..1 to embedding.
        name: of the client's input.
        outputs: names; all are the embedding.
        batch: pictures per call; a name leaves it open.
        normalised: mean and standard deviation that the client has applied; None where its pixels are in 0..1.
        width: zeros fill the embedding up to so many numbers; None leaves it as it is.
    """
    model = onnx.load(path)
    if isinstance(batch, str):
        model = _any_batch(model, batch)
    side = model.graph.input[0].type.tensor_type.shape.dim[3].dim_value
    shell = _Shell(model, "pixel_values")
    given = shell.given(name, TensorProto.FLOAT, (batch, 3, side, side))
    if normalised is None:
        shell.feed("Identity", given)
    else:
        mean, deviation = (np.asarray(each, np.float32).reshape(1, 3, 1, 1) for each in normalised)
        scaled = shell.before("Mul", given, shell.constant("deviation", deviation))
        shell.feed("Add", scaled, shell.constant("mean", mean))
    shell.results(outputs, batch, width)
    return shell.finished()


def save(model: onnx.ModelProto, path: Path, whole: bool = True) -> None:
    """Check a model and write it; its bytes are the same every time.

    Args:
        model: to be written.
        path: of the file.
        whole: infer all shapes, too; not possible with operators that are not ONNX's own.
    """
    onnx.checker.check_model(model, full_check=whole)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


class _Shell:
    """A tower with nodes before and behind it; names of its own values begin with "client."."""

    def __init__(self, model: onnx.ModelProto, tower_input: str):
        self._model, self._graph = model, model.graph
        self._tower_input = "client.tower"
        for node in self._graph.node:
            node.input[:] = [self._tower_input if one == tower_input else one for one in node.input]
            node.output[:] = ["client.embedding" if one == "embedding" else one for one in node.output]
        self._dim = self._graph.output[0].type.tensor_type.shape.dim[1].dim_value
        del self._graph.input[:], self._graph.output[:], self._graph.value_info[:]
        self._before: list[onnx.NodeProto] = []

    def given(self, name: str, type_: int, shape: Sequence[int | str]) -> str:
        """Add an input; returns its name."""
        self._graph.input.append(helper.make_tensor_value_info(name, type_, list(shape)))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        """Store a constant; returns its name."""
        name = f"client.{name}"
        if all(one.name != name for one in self._graph.initializer):
            self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def axis(self, number: int) -> str:
        """Store a row of one int64, as axes and bounds are given."""
        return self.constant(f"n{number}", np.asarray([number], np.int64))

    def before(self, op: str, *inputs: str, **attributes: object) -> str:
        """Add a node before the tower; returns the name of its output."""
        name = f"client.{len(self._before)}"
        self._before.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def feed(self, op: str, *inputs: str, **attributes: object) -> None:
        """Add the node whose output the tower takes."""
        self._before.append(helper.make_node(op, list(inputs), [self._tower_input], **attributes))

    def results(self, outputs: Sequence[str], batch: int | str, width: int | None) -> None:
        """Name the embedding, filled up to a width, as each of the outputs."""
        value, wide = "client.embedding", width or self._dim
        if wide > self._dim:
            pads = self.constant("pads", np.asarray([0, 0, 0, wide - self._dim], np.int64))
            self._graph.node.append(helper.make_node("Pad", [value, pads], ["client.padded"]))
            value = "client.padded"
        for name in outputs:
            self._graph.node.append(helper.make_node("Identity", [value], [name]))
            self._graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, wide]))

    def finished(self) -> onnx.ModelProto:
        """Return the model with all nodes in order."""
        nodes = [*self._before, *self._graph.node]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        return self._model


def _any_batch(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Let an image tower take any number of pictures, each of which gets the embedding that it gets alone."""
    dims = [one.type.tensor_type.shape.dim[0] for one in (model.graph.input[0], model.graph.output[0])]
    if not dims[0].dim_value:
        return model
    alone = OnnxFile(model.SerializeToString())
    relaxed = onnx.ModelProto()
    relaxed.CopyFrom(model)
    for value in (relaxed.graph.input[0], relaxed.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = name
    del relaxed.graph.value_info[:]
    side = model.graph.input[0].type.tensor_type.shape.dim[3].dim_value
    pictures = np.random.default_rng(0).random((2, 3, side, side), np.float32)
    wanted = np.concatenate([alone({"pixel_values": one[None]}) for one in pictures])
    # a shape that was written for one picture, or int8 scales of the whole batch, do not pass
    found = OnnxFile.attempt(relaxed.SerializeToString(), {"pixel_values": pictures})
    if found is not None and found.shape == wanted.shape and np.abs(found - wanted).max() < _SAME:
        return relaxed
    return _one_by_one(model, name)


def _one_by_one(model: onnx.ModelProto, batch: str) -> onnx.ModelProto:
    """Run a tower for one picture after the other, inside of the graph (Scan)."""
    tower = model.graph
    sizes = [[dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in (tower.input[0], tower.output[0])]
    stored = [numpy_helper.from_array(np.asarray([0], np.int64), "client.first")]
    body = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["client.picture", "client.first"], [tower.input[0].name]),
            *tower.node,
            helper.make_node("Squeeze", [tower.output[0].name, "client.first"], ["client.row"]),
        ],
        "one picture",
        [helper.make_tensor_value_info("client.picture", TensorProto.FLOAT, sizes[0][1:])],
        [helper.make_tensor_value_info("client.row", TensorProto.FLOAT, sizes[1][1:])],
        initializer=[*tower.initializer, *stored],
    )
    scan = helper.make_node("Scan", ["pixel_values"], ["embedding"], body=body, num_scan_inputs=1)
    graph = helper.make_graph(
        [scan],
        tower.name,
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [batch, *sizes[0][1:]])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, *sizes[1][1:]])],
    )
    made = helper.make_model(graph, opset_imports=list(model.opset_import), producer_name=model.producer_name)
    made.ir_version, made.doc_string = model.ir_version, model.doc_string
    return made
