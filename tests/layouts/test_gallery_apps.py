"""TIDY, SmartScan and PicQuery: files, tensors and vocabulary as their code has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from conaclip_edge import open_bundle
from conaclip_edge.bundle.golden import read_golden
from conaclip_edge.errors import UserError
from conaclip_edge.layouts.report import LayoutReport
from conaclip_edge.layouts.write import write_layout
from tests.helpers.search.search_world import SearchWorld

Written = dict[str, tuple[Path, LayoutReport]]
FILES = {
    "tidy": ("visual_quant.onnx", "textual_quant.onnx", "vocab.json", "merges.txt"),
    "smartscan": ("clip_image_encoder_quant.onnx", "clip_text_encoder_quant.onnx", "vocab.json", "merges.txt"),
    "picquery": ("clip-image-int8.ort", "clip-text-int8.ort"),
}
TYPES = {"tidy": ["tensor(int32)"] * 2, "smartscan": ["tensor(int64)"], "picquery": ["tensor(int32)"]}


@pytest.fixture(scope="module")
def written(clip_shaped: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    home = tmp_path_factory.mktemp("galleries")
    made = {name: (home / name, write_layout(clip_shaped, name, home / name)) for name in ("tidy", "smartscan")}
    folder = clip_shaped.with_name("bundle-picquery")
    return made | {"picquery": (folder, LayoutReport.model_validate_json((folder / "layout.json").read_bytes()))}


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_those_of_the_app(written: Written, name: str) -> None:
    report = written[name][1]
    assert set(report.files) == {*FILES[name], "LICENSE.md"}


@pytest.mark.parametrize("name", FILES)
def test_the_text_file_takes_the_types_of_the_app_and_gives_512_numbers(written: Written, name: str) -> None:
    session = onnxruntime.InferenceSession(written[name][0] / FILES[name][1])
    assert [(one.type, one.shape) for one in session.get_inputs()] == [(type_, [1, 77]) for type_ in TYPES[name]]
    assert session.get_outputs()[0].shape == [1, 512]


@pytest.mark.parametrize("name", FILES)
def test_a_text_gets_the_embedding_of_the_bundle_and_zeros_behind_it(
    written: Written, clip_shaped: Path, name: str
) -> None:
    session = onnxruntime.InferenceSession(written[name][0] / FILES[name][1])
    bundle = open_bundle(clip_shaped)
    ids = bundle.ids("two dogs on the beach").tolist()
    given = np.asarray([ids + [0] * (77 - len(ids))], np.int64 if name == "smartscan" else np.int32)
    inputs = {one.name: given if one.name == "input_ids" else np.ones_like(given) for one in session.get_inputs()}
    (found,) = session.run(None, inputs)[0]
    np.testing.assert_allclose(found[:16], bundle.embed_texts(["two dogs on the beach"])[0], atol=1e-3)
    assert not found[16:].any()


@pytest.mark.parametrize("name", FILES)
def test_the_picture_file_undoes_the_normalisation_of_the_app(written: Written, name: str) -> None:
    assert written[name][1].exact > 0.9999


def test_texts_that_the_app_empties_are_listed(written: Written, clip_shaped: Path) -> None:
    texts = written["tidy"][1].texts
    golden = read_golden(clip_shaped / "golden").texts
    assert texts.ids_equal + len(texts.different) == texts.texts == len(golden)
    assert any(text.startswith("\u732b") for text in texts.different)
    assert "a photo of a cat" not in texts.different


def test_the_report_says_how_to_train_for_an_app_that_squashes(written: Written) -> None:
    advice = written["picquery"][1].advice
    assert advice is not None
    assert (advice.resize, advice.resample) == ("squash", "bilinear")
    assert written["tidy"][1].advice is None


def test_the_vocabulary_is_written_as_clip_s_repositories_have_it(written: Written) -> None:
    folder = written["tidy"][0]
    vocab = json.loads((folder / "vocab.json").read_text("utf-8"))
    assert (len(vocab), vocab["<|startoftext|>"], vocab["<|endoftext|>"]) == (49408, 49406, 49407)
    first, second, *_ = (folder / "merges.txt").read_text("utf-8").splitlines()
    assert first == "#version: 0.2"
    assert len(second.split(" ")) == 2


def test_an_export_lays_its_bundle_out(clip_shaped: Path) -> None:
    folder = clip_shaped.with_name("bundle-picquery")
    assert {path.name for path in folder.iterdir()} == {*FILES["picquery"], "LICENSE.md", "layout.json"}


@pytest.mark.parametrize("name", FILES)
def test_a_bundle_that_does_not_fit_says_what_to_train(searched: SearchWorld, tmp_path: Path, name: str) -> None:
    with pytest.raises(
        UserError, match=r"49,408 pieces of CLIP's vocabulary, a context of 77, pictures of 224"
    ) as caught:
        write_layout(searched.bundle, name, tmp_path / "made")
    assert "student.vocab.keep=all student.text.context=77 student.image.size=224" in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_words_and_files_refuses_the_vocabulary_of_clip(clip_shaped: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="has a tokenizer of kind BPE; the operators are used for BERT's WordPiece alone"
    ):
        write_layout(clip_shaped, "words-and-files", tmp_path / "made")
