"""ONNX files give what the float towers give, are of one piece, and hold int8 where they say so."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.accelerators.onnx_nodes import onnx_accelerators
from conaclip_edge.export.onnx import ort_format
from conaclip_edge.export.onnx.export import export
from conaclip_edge.export.onnx.graph_builder import Graph
from conaclip_edge.export.onnx.towers import image_model, text_model
from conaclip_edge.export.quantize.calibration import make_calibration
from conaclip_edge.export.quantize.sensitivity import quantised_layers
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.runtime.onnx_tower import OnnxTower
from tests.helpers.small_students import CONTEXT, EOS, SIZE, VOCAB, calibration, pictures, student, text

KINDS = ("vit", "mobile")
PRECISIONS = ("fp32", "fp16", "int8")


def towers_of(kind):
    return build_towers(student(kind, "quick_gelu" if kind == "mobile" else "gelu"), kind)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Kind and precision -> folder of exported files."""
    made = {}
    for kind in KINDS:
        for precision in PRECISIONS:
            made[kind, precision] = tmp_path_factory.mktemp(f"{kind}-{precision}")
            export(towers_of(kind), calibration(), ExportConfig(precision=precision), made[kind, precision])
    return made


def ids(*rows):
    return np.asarray(rows, dtype=np.int32)


def cosine(a, b):
    return float((a * b).sum(axis=1).min())


@pytest.mark.parametrize("suffix", ["onnx", "ort"])
@pytest.mark.parametrize("kind", KINDS)
def test_float_image_file_equals_the_tower_in_any_batch(folders, kind, suffix):
    file = OnnxTower(folders[kind, "fp32"] / f"image.fp32.{suffix}")
    for batch in (1, 3):
        x = pictures(batch)
        np.testing.assert_allclose(file(x.numpy()), towers_of(kind).image(x).numpy(), atol=1e-5)


@pytest.mark.parametrize("suffix", ["onnx", "ort"])
def test_float_text_file_equals_the_tower_at_every_length(folders, suffix):
    file, tower = OnnxTower(folders["vit", "fp32"] / f"text.fp32.{suffix}"), towers_of("vit").text
    for length in range(2, CONTEXT + 1):
        rows = ids(text(length, seed=1), text(length, seed=2))
        np.testing.assert_allclose(file(rows), tower(torch.from_numpy(rows)).numpy(), atol=1e-5)


def test_text_file_reads_the_first_eos_whatever_follows(folders):
    file = OnnxTower(folders["vit", "fp32"] / "text.fp32.onnx")
    row = text(5, seed=3)
    alone = file(ids(row))
    for rest in ([EOS, EOS], [0, 0], [7, EOS], [EOS, 3, EOS, 9]):
        np.testing.assert_allclose(file(ids(row + rest)), alone, atol=1e-5)


def test_the_attention_operator_gives_what_its_parts_give(tmp_path):
    towers = towers_of("vit")
    files = {}
    for opset in (22, 23):
        for name, write, layer in (("image", image_model, "patch"), ("text", text_model, "table")):
            # one int8 layer that is no linear one: the rest is float, so nothing but attention can differ
            model = write(towers, Graph(False, frozenset({layer}), opset), "")
            path = tmp_path / f"{name}.{opset}.onnx"
            path.write_bytes(model.SerializeToString())
            operators = {node.op_type for node in model.graph.node}
            assert ("Attention" in operators, "Softmax" in operators) == (opset == 23, opset == 22)
            files[name, opset] = OnnxTower(path)
    given = [("image", pictures(3).numpy())]
    given += [("text", ids(text(length, seed=1), text(length, seed=2))) for length in range(2, CONTEXT + 1)]
    given += [("text", ids(text(5, seed=3) + rest)) for rest in ([EOS, EOS], [EOS, 3], [0, 9])]
    for name, values in given:
        np.testing.assert_allclose(files[name, 23](values), files[name, 22](values), atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_float_files_hold_what_accelerators_take_in_place_of_attention(folders, precision):
    for tower in ("image", "text"):
        model = onnx.load(folders["vit", precision] / f"{tower}.{precision}.onnx")
        assert "Attention" not in {node.op_type for node in model.graph.node}


def test_a_text_file_of_a_student_with_eos_2_pools_at_the_largest_id(tmp_path):
    towers = build_towers(student(eos=2), "legacy")
    export(towers, calibration(), ExportConfig(precision="fp32"), tmp_path)
    rows = ids([7, 49, 9, 2, 0], [3, 30, 2, 44, 44])
    expected = towers.text(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(OnnxTower(tmp_path / "text.fp32.onnx")(rows), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_float16_files_are_finite_and_close(folders, kind):
    towers, folder = towers_of(kind), folders[kind, "fp16"]
    x, rows = pictures(3), ids(text(CONTEXT), text(CONTEXT, seed=1))
    for name, inputs in (("image", x.numpy()), ("text", rows)):
        found = OnnxTower(folder / f"{name}.fp16.onnx")(inputs)
        assert np.isfinite(found).all()
        assert cosine(found, towers[name](torch.from_numpy(inputs)).numpy()) > 0.9999


def test_float16_embeddings_beyond_its_squares_are_normalised(tmp_path):
    towers = build_towers(student("mobile"), "large")
    towers.image.projection.weight.mul_(2000)
    export(towers, calibration(), ExportConfig(precision="fp16"), tmp_path)
    found = OnnxTower(tmp_path / "image.fp16.onnx")(pictures(1).numpy())
    assert cosine(found, towers.image(pictures(1)).numpy()) > 0.9999


@pytest.mark.parametrize("suffix", ["onnx", "ort"])
@pytest.mark.parametrize("kind", KINDS)
def test_int8_files_are_close_to_the_tower(folders, kind, suffix):
    towers, folder = towers_of(kind), folders[kind, "int8"]
    for name, inputs in (("image", pictures(4).numpy()), ("text", ids(text(9), text(9, seed=1)))):
        found = OnnxTower(folder / f"{name}.int8.{suffix}")(inputs)
        assert cosine(found, towers[name](torch.from_numpy(inputs)).numpy()) > 0.999


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["image", "text"])
def test_int8_covers_every_layer_and_nothing_else(folders, kind, name):
    model = onnx.load(folders[kind, "int8"] / f"{name}.int8.onnx")
    int8 = {c.name for c in model.graph.initializer if c.data_type == TensorProto.INT8 and len(c.dims) > 1}
    layers = quantised_layers(towers_of(kind)[name])
    assert int8 == {f"{layer.removeprefix('blocks.').removesuffix('.conv')}.w" for layer in layers}
    assert "ConvInteger" not in {node.op_type for node in model.graph.node}
    large = [c.name for c in model.graph.initializer if c.data_type == TensorProto.FLOAT and np.prod(c.dims) > 600]
    assert not large, "float weights are left in an int8 file"


@pytest.mark.parametrize("sign", [1, -1])
def test_no_int8_product_saturates_on_processors_without_vnni(tmp_path, sign):
    # all activations of the patch layer at 255 but for one at 0, all weights of one sign and size
    towers = towers_of("vit")
    towers.image.patch.weight.fill_(0.05 * sign)
    towers.image.patch.weight[::2] *= torch.linspace(0.2, 1, 8)
    export(towers, calibration(), ExportConfig(precision="int8", smoothing=0), tmp_path)
    white = np.ones((1, 3, SIZE, SIZE), np.float32)
    white[0, 0, 0, 0] = 0
    found = OnnxTower(tmp_path / "image.int8.onnx")(white)
    assert cosine(found, towers.image(torch.from_numpy(white)).numpy()) > 0.999


def test_float_layers_stay_float(tmp_path):
    export(towers_of("vit"), calibration(), ExportConfig(precision="int8", float_layers=3), tmp_path)
    floats = []
    for name in ("image", "text"):
        constants = onnx.load(tmp_path / f"{name}.int8.onnx").graph.initializer
        kept = {c.name.removesuffix(".w") for c in constants if c.data_type == TensorProto.FLOAT}
        floats += kept & {layer.removeprefix("blocks.") for layer in quantised_layers(towers_of("vit")[name])}
    assert len(floats) == 3


def test_the_same_student_gives_the_same_bytes(folders, tmp_path):
    export(towers_of("mobile"), calibration(), ExportConfig(precision="int8"), tmp_path)
    for name in ("image.int8.onnx", "text.int8.onnx", "required_operators_and_types.config"):
        assert (tmp_path / name).read_bytes() == (folders["mobile", "int8"] / name).read_bytes()


def test_files_are_of_one_piece_with_the_promised_inputs(folders):
    for (kind, precision), folder in folders.items():
        expected = {f"{name}.{precision}.{suffix}" for name in ("image", "text") for suffix in ("onnx", "ort")}
        taken = ("image", "text") if kind == "vit" else ("text",)
        expected |= {f"{name}.{precision}.accelerator.onnx" for name in taken}
        assert {path.name for path in folder.iterdir()} == expected | {"required_operators_and_types.config"}
        image, words = (onnx.load(folder / f"{name}.{precision}.onnx").graph for name in ("image", "text"))
        assert [describe(value) for value in (*image.input, *image.output)] == [
            ("pixel_values", TensorProto.FLOAT, [1, 3, SIZE, SIZE]),
            ("embedding", TensorProto.FLOAT, [1, 16]),
        ]
        assert [describe(value) for value in (*words.input, *words.output)] == [
            ("input_ids", TensorProto.INT32, ["batch", "length"]),
            ("embedding", TensorProto.FLOAT, ["batch", 16]),
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_dynamic_batch_gives_what_single_pictures_give(folders, kind, tmp_path):
    notes = export(towers_of(kind), calibration(), ExportConfig(precision="fp32", batch="dynamic"), tmp_path)
    assert (notes["image"]["batch"], notes["text"]["batch"]) == ("dynamic", "dynamic")
    (given,) = onnx.load(tmp_path / "image.fp32.onnx").graph.input
    assert describe(given)[2] == ["batch", 3, SIZE, SIZE]
    many, single = OnnxTower(tmp_path / "image.fp32.onnx"), OnnxTower(folders[kind, "fp32"] / "image.fp32.onnx")
    assert (many.batch, single.batch) == (None, 1)
    x = pictures(3).numpy()
    np.testing.assert_allclose(many(x), single(x), atol=1e-6)
    assert np.array_equal(single(x)[1:2], single(x[1:2]))


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_accelerators_take_the_whole_convolutional_picture_tower(folders, precision):
    found = {one.name: one for one in onnx_accelerators(folders["mobile", precision] / f"image.{precision}.onnx")}
    for name in ("NNAPI", "Core ML NeuralNetwork", "Core ML MLProgram", "QNN"):
        assert (found[name].taken, found[name].pieces, found[name].left) == (found[name].nodes, 1, ())


def describe(value):
    dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return value.name, value.type.tensor_type.elem_type, dims


def test_no_constant_is_infinite_or_huge(folders):
    for (kind, precision), folder in folders.items():
        for constant in onnx.load(folder / f"text.{precision}.onnx").graph.initializer:
            values = numpy_helper.to_array(constant).astype(np.float64)
            assert np.abs(values).max() <= 1e4, (kind, precision, constant.name)


def test_operators_of_both_towers_are_listed_without_the_folder(folders):
    words = (folders["vit", "int8"] / "required_operators_and_types.config").read_text("utf-8")
    assert words.splitlines()[1:3] == ["# - image.int8.ort", "# - text.int8.ort"]
    assert "CumSum" in words
    assert "LayerNormalization" in words


def test_ort_bytes_are_the_same_in_any_folder_before_and_after_python_compiled_the_libraries(
    folders, tmp_path, monkeypatch
):
    monkeypatch.setattr(ort_format, "_KEPT", ("PYTHONPYCACHEPREFIX",))
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "compiled"))
    source = folders["mobile", "int8"] / "image.int8.onnx"
    found = set()
    for folder in ("x", "y", "z" * 60):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / source.name).write_bytes(source.read_bytes())
        (made,) = ort_format.save_ort({tmp_path / folder / source.name: "ORT_ENABLE_EXTENDED"})
        found.add(made.read_bytes())
    assert len(found) == 1
    assert not (tmp_path / "compiled").exists()


@pytest.mark.parametrize("opset", [20, 23])
def test_the_notes_state_opset_versions_and_accelerators(tmp_path, opset):
    notes = export(towers_of("vit"), calibration(), ExportConfig(precision="fp32", opset=opset), tmp_path)
    assert notes["opset"] == opset == onnx.load(tmp_path / "text.fp32.onnx").opset_import[0].version
    assert notes["versions"]["onnx"] == onnx.__version__
    for tower in ("image", "text"):
        found = {one["name"]: one for one in notes[tower]["accelerators"]}
        assert list(found) == ["NNAPI", "Core ML NeuralNetwork", "Core ML MLProgram", "QNN", "XNNPACK"]
        assert all(0 <= one["taken"] <= one["nodes"] and one["source"] for one in found.values())


def test_int8_without_calibration_is_refused_and_float_is_not(tmp_path):
    nothing = make_calibration(np.zeros((0, 3, SIZE, SIZE), np.uint8), [])
    with pytest.raises(UserError, match="int8 needs calibration pictures and captions, got none"):
        export(towers_of("vit"), nothing, ExportConfig(precision="int8", smoothing=0), tmp_path)
    assert not list(tmp_path.iterdir())
    export(towers_of("vit"), nothing, ExportConfig(precision="fp16"), tmp_path)


def test_an_unknown_opset_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"opset 17 cannot be written\. Known: 20 to 23"):
        export(towers_of("vit"), calibration(), ExportConfig(opset=17), tmp_path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("text", np.full((1, CONTEXT + 1), EOS, np.int32)),
        ("text", np.full((1, 4), VOCAB, np.int32)),
        ("image", np.zeros((1, 3, SIZE + 1, SIZE), np.float32)),
    ],
    ids=["longer than the context", "id outside the table", "other picture size"],
)
def test_wrong_inputs_are_an_error_of_one_line(folders, name, values):
    with pytest.raises(UserError, match=rf"^{name}.fp32.onnx takes .* got 1 x [^\n]*$"):
        OnnxTower(folders["vit", "fp32"] / f"{name}.fp32.onnx")(values)


def test_a_file_that_is_no_model_is_an_error_of_one_line(tmp_path):
    path = tmp_path / "image.int8.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(UserError, match=r"^onnxruntime [\d.]+ cannot load .*image.int8.onnx: [^\n]*$"):
        OnnxTower(path)
