"""The image tower of a kind that no graph is written for: traced by torch, its weights then stored in int8."""

from __future__ import annotations

import copy
import logging

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from conaclip_edge.export.onnx.accelerator_traced import with_free_operators
from conaclip_edge.export.towers.towers import OtherImageTower
from conaclip_edge.models.quantization.int8_weights import int8_values
from conaclip_edge.system.progress import quiet


class _Half(nn.Module):
    """A tower computed in float16 but for the normalisation at its end, whose squares would overflow there."""

    def __init__(self, tower: OtherImageTower):
        super().__init__()
        half = copy.deepcopy(tower).half()
        self.mean, self.std, self.backbone, self.projection = half.mean, half.std, half.backbone, half.projection
        self.unit = tower.unit

    def forward(self, pixel_values: Tensor) -> Tensor:
        features = self.backbone((pixel_values.half() - self.mean) / self.std)
        embedding: Tensor = self.unit(self.projection(features).float())
        return embedding


def traced_image_model(
    tower: OtherImageTower, size: int, half: bool, int8: frozenset[str], opset: int, about: str, single: bool = False
) -> onnx.ModelProto:
    """Write an image tower: pixel_values float32 [batch, 3, size, size] to embedding float32 [batch, d].

    Args:
        tower: an export-ready tower.
        size: height and width of a picture.
        half: compute in float16.
        int8: layers whose weights are stored in int8 and computed with as float.
        opset: version of the standard operator set.
        about: what the file says of itself.
        single: fix the batch to 1.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it counts its steps
    with quiet():
        program = torch.onnx.export(
            _Half(tower).eval() if half else tower,
            (torch.zeros(1 if single else 2, 3, size, size),),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=None if single else ({0: torch.export.Dim("batch", min=1, max=1024)},),
            input_names=["pixel_values"],
            output_names=["embedding"],
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    model.ir_version, model.producer_name, model.producer_version, model.doc_string = 10, "conaclip-edge", "", about
    del model.metadata_props[:], model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.value_info, *model.graph.input):
        del part.metadata_props[:]  # lines of the source that the node comes from, with paths of this machine
        part.doc_string = ""
    del model.graph.value_info[:]
    _store_int8(model.graph, int8)
    return with_free_operators(model) if single else model


def _store_int8(graph: onnx.GraphProto, layers: frozenset[str]) -> None:
    """Turn the weights of layers into int8 values, a Cast and a Mul by the scale of each output channel."""
    users = {name: node for node in graph.node for name in node.input}
    added: list[onnx.NodeProto] = []
    for stored in list(graph.initializer):
        layer = stored.name.removesuffix(".weight")
        if layer == stored.name or layer.removesuffix(".conv") not in layers:
            continue
        # not the layer's own weight: a batch norm behind it may be folded in
        weight = torch.from_numpy(numpy_helper.to_array(stored).copy())
        channel = 1 if _is_transposed(users[stored.name]) else 0
        values, scale = (each.transpose(0, channel) for each in int8_values(weight.transpose(0, channel)))
        names = f"{layer}.int8", f"{layer}.scale", f"{layer}.float"
        graph.initializer.remove(stored)
        for name, array in zip(names, (values, scale), strict=False):
            graph.initializer.append(numpy_helper.from_array(array.contiguous().numpy(), name))
        added.append(helper.make_node("Cast", [names[0]], [names[2]], to=TensorProto.FLOAT))
        added.append(helper.make_node("Mul", [names[2], names[1]], [stored.name]))
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _is_transposed(user: onnx.NodeProto) -> bool:
    """Say whether a node takes a weight as [inputs, outputs]."""
    turned = any(attribute.name == "transB" and attribute.i for attribute in user.attribute)
    return user.op_type == "MatMul" or (user.op_type == "Gemm" and not turned)
