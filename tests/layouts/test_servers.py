"""immich and UForm: their resizes bit by bit, their texts, and files that give what the bundle gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from conaclip_edge.bundle.golden_pictures import made_pictures
from conaclip_edge.data.preprocess import decode
from conaclip_edge.layouts.pictures import cropped, squashed
from conaclip_edge.layouts.report import LayoutReport
from conaclip_edge.layouts.write import write_layout
from tests.helpers.search.search_world import SearchWorld

MADE = {name: decode(data) for name, data in made_pictures()}
# what `_resize` of immich's machine-learning/immich_ml/models/clip/visual.py (0538dd7) gave with Pillow 12 for the
# pictures that `made_pictures` makes, bicubic, 32 pixels: by its own functions, in both of its modes
THEIRS = np.load(Path(__file__).parents[1] / "helpers" / "layouts" / "immich_pixels.npz")


@pytest.fixture(scope="module")
def written(searched: SearchWorld, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, LayoutReport]]:
    home = tmp_path_factory.mktemp("servers")
    return {name: (home / name, write_layout(searched.bundle, name, home / name)) for name in ("immich", "uform")}


@pytest.mark.parametrize("name", ["wide.png", "tall.jpg", "small.png"])
def test_immich_s_resizes_are_repeated_bit_by_bit(name: str) -> None:
    shortest = cropped(MADE[name], 32, Image.Resampling.BICUBIC, int, int)
    np.testing.assert_array_equal(shortest, THEIRS[f"shortest/{name}"])
    np.testing.assert_array_equal(squashed(MADE[name], 32, Image.Resampling.BICUBIC), THEIRS[f"squash/{name}"])


@pytest.mark.parametrize("name", ["immich", "uform"])
def test_padded_texts_get_the_embeddings_of_the_bundle(
    written: dict[str, tuple[Path, LayoutReport]], name: str
) -> None:
    report = written[name][1]
    assert report.texts.ids_equal == report.texts.texts
    assert report.pictures is not None
    assert report.pictures.recall is not None
    assert report.pictures.recall.relative_recall["t2i"] > 0.97


def test_immich_gets_a_width_that_one_of_its_names_has(written: dict[str, tuple[Path, LayoutReport]]) -> None:
    folder, report = written["immich"]
    assert json.loads((folder / "config.json").read_text("utf-8"))["embed_dim"] == 512
    assert any("clip/ViT-B-32__openai" in note for note in report.notes)
    session = onnxruntime.InferenceSession(folder / "visual" / "model.onnx")
    assert session.get_outputs()[0].shape == [1, 512]


def test_uform_s_files_take_several_pictures_and_texts(written: dict[str, tuple[Path, LayoutReport]]) -> None:
    folder = written["uform"][0]
    image = onnxruntime.InferenceSession(folder / "image_encoder.onnx")
    pixels = np.random.default_rng(0).random((3, 3, 32, 32), np.float32)
    features, embeddings = image.run(None, {"images": pixels})
    np.testing.assert_array_equal(features, embeddings)
    alone = [image.run(["embeddings"], {"images": one[None]})[0][0] for one in pixels]
    np.testing.assert_allclose(embeddings, np.stack(alone), atol=1e-5)
