"""Files for accelerators of phones: taken nearly whole, and the same embeddings as the towers'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo, optimize_model
from torch import Tensor, nn

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.config.model import ImageTowerConfig, ModelConfig, TextTowerConfig
from conaclip_edge.export.accelerators.onnx_nodes import onnx_accelerators
from conaclip_edge.export.onnx.accelerator_ops import gelu
from conaclip_edge.export.onnx.export import export
from conaclip_edge.export.onnx.graph_builder import Graph
from conaclip_edge.export.quantize.calibration import Calibration, make_calibration
from conaclip_edge.export.quantize.sensitivity import quantised_layers
from conaclip_edge.export.towers.towers import OtherImageTower, Towers, build_towers
from conaclip_edge.models.image_towers.backbone import Backbone
from conaclip_edge.models.image_towers.layers import ConvNorm
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.runtime.onnx_tower import OnnxTower
from tests.helpers.small_students import CONTEXT, EOS, SIZE, VOCAB, calibration, pictures, student, text

TABLES = ("NNAPI", "Core ML NeuralNetwork", "Core ML MLProgram")
LEAST = {"image": 0.95, "text": 0.9}  # share of the nodes
PRECISIONS = ("fp32", "fp16", "int8")


class Convolutions(Backbone):
    """A traced tower with the activations of MobileNetV3, squeeze and excitation, and a mean over places."""

    def __init__(self, features: int):
        super().__init__()
        self.features = features
        self.stem = ConvNorm(3, 16, 3, stride=2)
        self.narrow, self.wide, self.last = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1), nn.Conv2d(16, features, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        x = nn.functional.silu(self.stem(pixels))
        gate = self.wide(nn.functional.relu(self.narrow(x.mean(dim=(2, 3), keepdim=True))))
        x = nn.functional.hardswish(self.last(x * nn.functional.hardsigmoid(gate)))
        return torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1)


class Rows(Backbone):
    """A traced transformer: a class row, fused queries, keys and values, and the row at the first place."""

    def __init__(self, features: int):
        super().__init__()
        self.features = features
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.row, self.position = nn.Parameter(torch.randn(1, 1, 32)), nn.Parameter(torch.randn(1, 17, 32))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(3))
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.fc1, self.fc2, self.last = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, features)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patch(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.row.expand(len(x), -1, -1), x], dim=1) + self.position
        q, k, v = self.qkv(self.norms[0](x)).reshape(len(x), 17, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(len(x), 17, 32)
        x = x + self.out(mixed)
        x = x + self.fc2(nn.functional.gelu(self.fc1(self.norms[1](x))))
        return self.last(self.norms[2](x)[:, 0])


def traced(backbone: type[Backbone]) -> Towers:
    torch.manual_seed(1)
    model = student("mobile")
    model.image.mobile = backbone(model.image.backbone.features).eval()
    return replace(build_towers(student("mobile"), "traced"), image=OtherImageTower(model).eval().requires_grad_(False))


def siglip() -> Towers:
    torch.manual_seed(2)
    shape = {"width": 32, "layers": 2, "heads": 2, "mlp": 64, "activation": "gelu_pytorch_tanh"}
    image = ImageTowerConfig(kind="siglip", size=SIZE, patch=8, **shape)
    words = TextTowerConfig(kind="siglip", context=CONTEXT, vocab_size=VOCAB, eos_id=0, pad_id=0, **shape)
    return build_towers(DualEncoder(ModelConfig(image=image, text=words, embed_dim=32)).eval(), "siglip")


def seen(towers: Towers) -> Calibration:
    """Return calibration pairs, with texts of the one length where there is one."""
    pairs = calibration()
    if not towers.fixed_length:
        return pairs
    return make_calibration(pairs.pixels, [padded(ids.tolist(), [0])[0] for ids in pairs.ids])


def padded(row: list[int], rest: list[int]) -> np.ndarray:
    """Fill ids up to the context, with other ids again and again."""
    return np.asarray([(row + rest * CONTEXT)[:CONTEXT]], np.int32)


TOWERS: dict[str, Callable[[], Towers]] = {
    "vit": lambda: build_towers(student("vit", "gelu"), "vit"),
    "mobile": lambda: build_towers(student("mobile", "quick_gelu"), "mobile"),
    "siglip": siglip,
    "convolutions": lambda: traced(Convolutions),
    "rows": lambda: traced(Rows),
}


class Exported(NamedTuple):
    """Towers, and the folder of their files."""

    towers: Towers
    folder: Path

    def file(self, tower: str, precision: str) -> Path:
        """Return the file that an accelerator takes."""
        form = self.folder / f"{tower}.{precision}.accelerator.onnx"
        return form if form.exists() else self.folder / f"{tower}.{precision}.onnx"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Kind -> towers and the folder of their files in fp32; ViT and SigLIP in the other precisions too."""
    made = {}
    for kind, build in TOWERS.items():
        made[kind] = Exported(build(), tmp_path_factory.mktemp(kind))
        for precision in PRECISIONS if kind in ("vit", "siglip") else ("fp32",):
            export(made[kind].towers, seen(made[kind].towers), ExportConfig(precision=precision), made[kind].folder)
    return made


FILES = [(kind, "fp32") for kind in TOWERS] + [(kind, other) for kind in ("vit", "siglip") for other in PRECISIONS[1:]]


@pytest.mark.parametrize(("kind", "precision"), FILES)
@pytest.mark.parametrize("tower", ["image", "text"])
def test_accelerators_take_nearly_all_nodes(exported, kind, precision, tower):
    found = {one.name: one for one in onnx_accelerators(exported[kind].file(tower, precision))}
    for name in TABLES:
        assert found[name].taken >= LEAST[tower] * found[name].nodes, (name, found[name].left)
        assert found[name].symbolic == 0


@pytest.mark.parametrize("kind", ["vit", "siglip"])
def test_the_nodes_left_are_those_that_read_ids(exported, kind):
    for precision in ("fp32", "int8"):
        for tower in ("image", "text"):
            for one in onnx_accelerators(exported[kind].file(tower, precision)):
                if one.name in TABLES:
                    assert set(one.left) <= ({"Equal", "Gather"} if tower == "text" else set())
                    assert one.pieces == 1


@pytest.mark.parametrize("kind", ["vit", "siglip"])
def test_what_the_notes_of_nnapis_table_ask_of_a_node_is_kept(exported, kind, tmp_path):
    for tower in ("image", "text"):
        optimize_model(exported[kind].file(tower, "fp32"), tmp_path / "optimised.onnx")
        graph = ModelProtoWithShapeInfo(tmp_path / "optimised.onnx").model_with_shape_info.graph
        constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        values = (*graph.input, *graph.output, *graph.value_info)
        ranks = {one.name: len(one.type.tensor_type.shape.dim) for one in values}
        ranks |= {name: value.ndim for name, value in constants.items()}
        for node in graph.node:
            first, *others = node.input
            assert all(ranks[name] <= 4 for name in node.input)
            if node.op_type in ("MatMul", "Gemm"):
                two = (ranks[first], ranks[others[0]])
                assert (two == (2, 2) and others[0] in constants) or two in ((3, 3), (4, 4))
            elif node.op_type == "Clip":
                assert [constants[name].item() for name in others] == [0, 6]
            elif node.op_type == "Softmax":
                assert ranks[first] in (2, 4)


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999999), ("fp16", 0.9999), ("int8", 0.999)])
@pytest.mark.parametrize("rest", [[0], [EOS], [7, EOS, 3]], ids=["pad", "EOS", "anything"])
def test_texts_of_every_length_give_what_they_give_unpadded_in_the_dynamic_file(exported, precision, least, rest):
    _, folder = exported["vit"]
    fixed = OnnxTower(folder / f"text.{precision}.accelerator.onnx")
    dynamic = OnnxTower(folder / f"text.{precision}.onnx")
    assert (fixed.lengths, dynamic.lengths) == ((CONTEXT,), None)
    for length in range(2, CONTEXT + 1):
        row = text(length, seed=length)
        assert (fixed(padded(row, rest)) * dynamic(np.asarray([row], np.int32))).sum() > least


def test_what_follows_the_end_changes_nothing_at_all(exported):
    _, folder = exported["vit"]
    fixed = OnnxTower(folder / "text.int8.accelerator.onnx")
    row = text(5, seed=3)
    np.testing.assert_allclose(fixed(padded(row, [EOS])), fixed(padded(row, [0])), atol=1e-6)


def test_a_student_with_eos_2_is_pooled_at_the_largest_id(tmp_path):
    towers = build_towers(student(eos=2), "legacy")
    export(towers, calibration(), ExportConfig(precision="fp32"), tmp_path)
    row = padded([7, 49, 9, 2], [0])
    found = OnnxTower(tmp_path / "text.fp32.accelerator.onnx")(row)
    np.testing.assert_allclose(found, towers.text(torch.from_numpy(row)).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "precision", "least"),
    [
        ("vit", "fp32", 0.999999),
        ("vit", "fp16", 0.9999),
        ("vit", "int8", 0.999),
        ("siglip", "fp32", 0.999999),
        ("siglip", "fp16", 0.9999),
    ],
)
def test_embeddings_are_the_towers(exported, kind, precision, least):
    towers = exported[kind].towers
    given = {"image": pictures(3, seed=4).numpy(), "text": padded(text(6), [0])}
    for tower, values in given.items():
        found = OnnxTower(exported[kind].file(tower, precision))(values)
        assert (found * towers[tower](torch.from_numpy(values)).numpy()).sum(axis=1).min() > least


@pytest.mark.parametrize("kind", ["convolutions", "rows"])
def test_a_traced_tower_with_other_operators_gives_the_same(exported, kind):
    towers, folder = exported[kind]
    x = pictures(3, seed=4)
    found = OnnxTower(folder / "image.fp32.accelerator.onnx")(x.numpy())
    np.testing.assert_allclose(found, towers.image(x).numpy(), atol=1e-4)


def test_convolutions_that_are_taken_as_they_are_get_no_second_file(exported, tmp_path):
    assert not (exported["mobile"].folder / "image.fp32.accelerator.onnx").exists()
    export(exported["mobile"].towers, calibration(), ExportConfig(precision="fp32", batch="dynamic"), tmp_path)
    assert OnnxTower(tmp_path / "image.fp32.accelerator.onnx").batch == 1


def test_int8_weights_are_a_byte_each(exported):
    towers, folder = exported["vit"]
    for tower in ("image", "text"):
        stored = onnx.load(folder / f"{tower}.int8.accelerator.onnx").graph.initializer
        names = {layer.removeprefix("blocks.") for layer in quantised_layers(towers[tower])}
        assert {one.name for one in stored if one.data_type == TensorProto.INT8} == {f"{name}.w" for name in names}


def test_gelu_differs_by_less_than_its_docstring_says_wherever_it_is_asked(tmp_path):
    graph = Graph(False, frozenset(), 23)
    given = onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])
    (tmp_path / "gelu.onnx").write_bytes(graph.model(given, gelu(graph, "x"), 1, "").SerializeToString())
    x = torch.cat([torch.linspace(-12, 12, 4801), torch.tensor([-1e4, -50, 50, 1e4])])[:, None]
    found = OnnxTower(tmp_path / "gelu.onnx")(x.numpy())
    np.testing.assert_allclose(found, nn.functional.gelu(x).numpy(), atol=2.7e-5)
