"""ExecuTorch programs give what the float towers give, in one delegate, and hold int8 where they say so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from executorch.exir._serialize._program import deserialize_pte_binary
from torch import nn

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.executorch.export import export, lower
from conaclip_edge.export.executorch.partitioner import xnnpack_partitioner
from conaclip_edge.export.executorch.xnnpack_modules import Int8Conv, Int8Pointwise, ProductNorm, ProductUnit
from conaclip_edge.export.quantize.activation_budget import Activation, choose_activations
from conaclip_edge.export.quantize.calibration import make_calibration
from conaclip_edge.export.quantize.sensitivity import int8_layers
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.runtime.executorch_tower import ExecutorchTower
from conaclip_edge.runtime.open_tower import open_tower
from tests.helpers.small_students import CONTEXT, EOS, SIZE, calibration, pictures, student, text

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("no_other_delegates")]
MADE = (("vit", "int8"), ("mobile", "int8"), ("vit", "fp32"))


def towers_of(kind):
    return build_towers(student(kind), kind)


@pytest.fixture(scope="module")
def exports(tmp_path_factory, no_other_delegates):
    """Kind and precision -> folder of exported files, and the exporter's notes."""
    made = {}
    for kind, precision in MADE:
        folder = tmp_path_factory.mktemp(f"{kind}-{precision}")
        config = ExportConfig(target="executorch", precision=precision)
        made[kind, precision] = folder, export(towers_of(kind), calibration(), config, folder)
    return made


def ids(*rows):
    return np.asarray(rows, dtype=np.int32)


def cosine(a, b):
    return float((a * b).sum(axis=1).min())


def constants_of(path):
    """The constants of a program: (bytes that the delegate has, bytes that are left outside)."""
    file = deserialize_pte_binary(path.read_bytes())
    outside = sum(len(one.storage) for one in file.program.constant_buffer)
    return sum(len(one) for one in file.named_data.buffers), outside


def test_float_programs_equal_the_towers(exports):
    folder, _ = exports["vit", "fp32"]
    image, words = (ExecutorchTower(folder / f"{name}.fp32.pte") for name in ("image", "text"))
    x = pictures(3)
    np.testing.assert_allclose(image(x.numpy()), towers_of("vit").image(x).numpy(), atol=1e-5)
    for length in range(2, CONTEXT + 1):
        rows = ids(text(length, seed=1), text(length, seed=2))
        np.testing.assert_allclose(words(rows), towers_of("vit").text(torch.from_numpy(rows)).numpy(), atol=1e-5)


def test_other_threads_than_loaded_programs_use_are_refused(exports):
    path = exports["vit", "fp32"][0] / "image.fp32.pte"
    tower = ExecutorchTower(path, threads=1)
    with pytest.raises(UserError, match=r"one thread pool a process, now of 1 threads; .* it cannot get 2\."):
        ExecutorchTower(path, threads=2)
    assert np.isfinite(tower(pictures(1).numpy())).all()


@pytest.mark.parametrize("kind", ["vit", "mobile"])
def test_int8_programs_are_close_to_the_towers(exports, kind):
    folder, _ = exports[kind, "int8"]
    for name, inputs in (("image", pictures(4).numpy()), ("text", ids(text(9), text(9, seed=1)))):
        found = open_tower(folder / f"{name}.int8.pte")(inputs)
        assert 0.998 < cosine(found, towers_of(kind)[name](torch.from_numpy(inputs)).numpy()) < 0.999999


def test_padding_after_eos_changes_nothing(exports):
    file = ExecutorchTower(exports["vit", "int8"][0] / "text.int8.pte")
    row = text(5, seed=3)
    # one int8 range serves all positions of a text, so what follows may move a step of it
    for rest in ([EOS, EOS], [0, 0], [7, EOS], [EOS, 3, EOS, 9]):
        assert cosine(file(ids(row + rest)), file(ids(row))) > 0.999
    exact = ExecutorchTower(exports["vit", "fp32"][0] / "text.fp32.pte")
    for rest in ([EOS, EOS], [7, EOS], [EOS, 3, EOS, 9]):
        np.testing.assert_allclose(exact(ids(row + rest)), exact(ids(row)), atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "mobile"])
def test_the_image_tower_is_one_delegate_and_nothing_else(exports, kind):
    notes = exports[kind, "int8"][1]["image"]
    assert notes["delegates"] == 1
    # the class token of a ViT, copied for each picture of a batch
    assert notes["left_over"] == ({"aten.expand_copy.default": 1} if kind == "vit" else {})


def test_the_notes_name_what_no_delegate_takes(exports):
    notes = exports["vit", "int8"][1]
    assert "aten.embedding.default" in notes["text"]["left_over"]
    assert notes["text"]["delegates"] == 2  # the token table lies between position and rows
    assert notes["backend"] == "xnnpack"
    # all of both blocks, the patches and the projection
    assert notes["image"]["int8_layers"] == {"dynamic": 2, "static": 12}


@pytest.mark.parametrize("kind", ["vit", "mobile"])
def test_int8_weights_are_stored_once_and_take_a_byte_each(exports, kind):
    folder, _ = exports[kind, "int8"]
    for name in ("image", "text"):
        tower = towers_of(kind)[name]
        layers = [tower.get_submodule(layer) for layer in int8_layers(towers_of(kind), name)]
        weights = sum(layer.weight.numel() for layer in layers)
        channels = sum(len(layer.weight) for layer in layers)
        inside, outside = constants_of(folder / f"{name}.int8.pte")
        # beside the weights: a scale and a bias a channel, norms and positions in float, what each is padded to
        assert weights < inside + outside < weights + 16 * channels + 4000 < 2.5 * weights


def test_the_token_table_is_int8(exports):
    table = towers_of("vit").text.get_submodule("table").weight
    _, outside = constants_of(exports["vit", "int8"][0] / "text.int8.pte")
    assert outside < 2 * table.numel() + 2500
    _, exact = constants_of(exports["vit", "fp32"][0] / "text.fp32.pte")
    assert exact > 4 * table.numel()


def test_layers_that_rounding_harms_keep_float_activations():
    towers, pairs = towers_of("mobile"), calibration()
    kinds = {each.kind for each in choose_activations(towers, "image", pairs, budget=0.0).values()}
    assert kinds == {"float"}
    generous = choose_activations(towers, "image", pairs, budget=1.0)
    assert {each.kind for each in generous.values()} == {"dynamic", "static"}
    for place, each in generous.items():
        if each.kind == "static":
            assert each.outputs[0] >= 0, f"{place} has a ReLU6"
            assert each.outputs[1] <= 6


class FloatThenInt8(nn.Module):
    """A 1x1 convolution on float pixels whose result a convolution on int8 pixels takes, beside a residual."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.plain = Int8Pointwise(nn.Conv2d(8, 8, 1), active=False)
        self.int8 = Int8Conv(nn.Conv2d(8, 12, 1), (), True, Activation("dynamic"))

    def forward(self, x):
        return self.int8(x + self.plain(x)).flatten(1)


def test_int8_pixels_after_float_ones_run(tmp_path):
    module = FloatThenInt8().eval().requires_grad_(False)
    x = torch.rand(1, 8, 6, 6)
    program, delegates, left_over = lower(module, x, None, xnnpack_partitioner())
    assert (delegates, left_over) == (1, {})
    (tmp_path / "mixed.pte").write_bytes(program)
    found = ExecutorchTower(tmp_path / "mixed.pte")(x.numpy())
    np.testing.assert_allclose(found, module(x).numpy(), atol=0.02)


def test_norms_written_as_products_are_the_same_function():
    torch.manual_seed(0)
    norm = nn.LayerNorm(24)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 24) * 3 + 1
    torch.testing.assert_close(ProductNorm(norm)(x), norm(x), atol=1e-5, rtol=1e-5)
    flat = torch.randn(3, 24)
    torch.testing.assert_close(ProductUnit(24)(flat), nn.functional.normalize(flat, dim=-1), atol=1e-6, rtol=1e-6)


def test_int8_without_calibration_is_refused(tmp_path):
    nothing = make_calibration(np.zeros((0, 3, SIZE, SIZE), np.uint8), [])
    with pytest.raises(UserError, match="int8 needs calibration pictures and captions, got none"):
        export(towers_of("vit"), nothing, ExportConfig(target="executorch"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_fp16_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"'executorch' has no precision 'fp16'\. Known: fp32, int8"):
        export(towers_of("vit"), calibration(), ExportConfig(target="executorch", precision="fp16"), tmp_path)


def test_the_core_ml_delegate_is_run_by_the_reference_interpreter(tmp_path):
    config = ExportConfig(target="executorch", backend="coreml")
    notes = export(towers_of("vit"), calibration(), config, tmp_path)
    assert (notes["backend"], notes["image"]["delegates"], notes["image"]["left_over"]) == ("coreml", 1, {})
    file = open_tower(tmp_path / "image.int8.pte")
    assert file.executed == "reference"
    x = pictures(2)
    assert cosine(file(x.numpy()), towers_of("vit").image(x).numpy()) > 0.999
    words = open_tower(tmp_path / "text.int8.pte")
    rows = ids(text(7), text(7, seed=1))
    assert cosine(words(rows), towers_of("vit").text(torch.from_numpy(rows)).numpy()) > 0.999


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("text", np.full((1, CONTEXT + 1), EOS, np.int32)),
        ("image", np.zeros((1, 3, SIZE + 8, SIZE), np.float32)),
    ],
    ids=["longer than the context", "other picture size"],
)
def test_wrong_inputs_are_an_error_of_one_line(exports, name, values):
    with pytest.raises(UserError, match=rf"^{name}.fp32.pte does not take 1 x [^\n]*$"):
        ExecutorchTower(exports["vit", "fp32"][0] / f"{name}.fp32.pte")(values)


def test_a_file_that_is_no_program_is_an_error_of_one_line(tmp_path):
    path = tmp_path / "image.int8.pte"
    path.write_bytes(b"no program at all, but long enough to have a header" * 4)
    with pytest.raises(UserError, match=r"^executorch cannot load .*image.int8.pte: [^\n]*$"):
        ExecutorchTower(path)
