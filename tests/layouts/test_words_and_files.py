"""Strings and encoded pictures as inputs: what onnxruntime-extensions makes of them, against the golden vectors."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxruntime_extensions
import pytest
from onnx import TensorProto, helper
from PIL import Image

from conaclip_edge.bundle.golden import read_golden
from conaclip_edge.config.model import Resample, Resize
from conaclip_edge.data.preprocess import Preprocess, to_pixels
from conaclip_edge.layouts.client import as_seen
from conaclip_edge.layouts.picture_nodes import picture_nodes
from conaclip_edge.layouts.report import LayoutReport
from conaclip_edge.layouts.write import write_layout
from tests.helpers.search.search_world import SearchWorld


@pytest.fixture(scope="module")
def written(searched: SearchWorld, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LayoutReport]:
    folder = tmp_path_factory.mktemp("words") / "layout"
    return folder, write_layout(searched.bundle, "words-and-files", folder)


def session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def test_words_go_in_and_the_golden_vectors_come_out(written: tuple[Path, LayoutReport], searched: SearchWorld) -> None:
    golden, text = read_golden(searched.bundle / "golden"), session(written[0] / "text.onnx")
    others = written[1].texts.different
    for given, ids, right in zip(golden.texts, golden.ids, golden.text_embeddings, strict=True):
        if given[:40] not in others:
            embedding, found = text.run(["embedding", "ids"], {"text": np.asarray([given])})
            assert as_seen(found[0], ids[-1]) == ids.tolist(), given
            assert embedding[0] @ right > golden.min_cosine["int8"], given


def test_the_report_lists_texts_that_the_operator_tokenises_otherwise(written: tuple[Path, LayoutReport]) -> None:
    texts = written[1].texts
    assert texts.ids_equal + len(texts.different) == texts.texts
    assert "[CLS] a cat [SEP] a dog [SEP]" in texts.different


def test_encoded_pictures_give_the_golden_pixels(written: tuple[Path, LayoutReport], searched: SearchWorld) -> None:
    golden, image = read_golden(searched.bundle / "golden"), session(written[0] / "image.onnx")
    for name, data, right in zip(golden.names, golden.pictures, golden.pixels, strict=True):
        if name.endswith(".png") and name != "transparent.png":
            (pixels,) = image.run(["pixels"], {"image": np.frombuffer(data, np.uint8)})
            assert np.abs(pixels[0].astype(int) - right).max() <= 1, name


def test_the_report_says_why_a_golden_picture_differs(written: tuple[Path, LayoutReport]) -> None:
    notes = " ".join(written[1].notes)
    assert "transparent.png" in notes
    assert "since its alpha is dropped" in notes
    assert "since its EXIF orientation is not applied" in notes


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_the_nodes_resize_as_pillow_does(resize: Resize, resample: Resample) -> None:
    preprocess = Preprocess(32, resize, resample)
    nodes, constants = picture_nodes("rgb", preprocess, "pixels", "scaled")
    given = helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["height", "width", 3])
    result = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 3, 32, 32])
    graph = helper.make_graph(nodes, "picture", [given], [result], initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    run = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for width, height in [(32, 32), (33, 70), (200, 121), (20, 31), (640, 333), *random.integers(17, 300, (20, 2))]:
        picture = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        (found,) = run.run(None, {"rgb": np.asarray(picture)})
        # of noise, the worst there is: both cut to 0..255 between rows and columns, and round differently there
        assert np.abs(found[0].astype(int) - to_pixels(picture, preprocess)).mean() < 0.5, (width, height)


def test_a_jpeg_is_decoded_too(written: tuple[Path, LayoutReport]) -> None:
    file = io.BytesIO()
    Image.new("RGB", (60, 40), (200, 30, 90)).save(file, "JPEG", quality=95)
    (pixels,) = session(written[0] / "image.onnx").run(["pixels"], {"image": np.frombuffer(file.getvalue(), np.uint8)})
    assert np.abs(pixels[0].reshape(3, -1).mean(axis=1) - (200, 30, 90)).max() < 3
