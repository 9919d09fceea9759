"""The Kotlin kit on a JVM: ids, pixels, search and the golden check, against what the bundle was made with."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer

from conaclip_edge.bundle.golden import TEXTS, read_golden
from conaclip_edge.bundle.golden_pictures import made_pictures
from conaclip_edge.config.model import Resample, Resize
from conaclip_edge.data.preprocess import Preprocess, decode, describe, to_pixels
from conaclip_edge.models.tokenizer import TextTokenizer, for_context
from conaclip_edge.web.site.int8_vectors import best, quantise
from tests.helpers.kotlin.golden import golden_check, write_argb
from tests.helpers.kotlin.kit import Kit
from tests.helpers.models.tiny_tokenizers import CAPTIONS, clip_json, minilm_json
from tests.helpers.search.search_world import SearchWorld

MORE = (
    *TEXTS,
    *CAPTIONS,
    "\u03a3\u0391\u03a3 \u01c5 \u1e9e",
    "a\u0300\u0301b \u2028 c\u3000d",
    "x [MASK] y<|endoftext|>",
    "to\u000bget\u000cher\u0085 again\r\n\u00adsoft",
)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit(tmp_path_factory.getbasetemp().parent, tmp_path_factory.mktemp("classes"))


@pytest.mark.parametrize("kind", ["WordPiece", "BPE"])
def test_ids_are_those_of_the_tokenizers_library(kit: Kit, tmp_path: Path, kind: str) -> None:
    whole = json.loads(minilm_json() if kind == "WordPiece" else clip_json())
    assert whole["model"]["type"] == kind
    (tmp_path / "tokenizer.json").write_text(json.dumps(for_context(whole, 24)), "utf-8")
    (tmp_path / "texts.json").write_text(json.dumps(MORE), "utf-8")
    lines = kit.run("ids", tmp_path / "tokenizer.json", tmp_path / "texts.json")
    library = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    found = dict(zip(MORE, ([int(one) for one in line.split()] for line in lines), strict=True))
    assert found == {text: library.encode(text).ids for text in MORE}


def test_a_part_of_a_tokenizer_that_the_kit_does_not_know_is_named(kit: Kit, tmp_path: Path) -> None:
    unigram = json.loads(minilm_json()) | {"model": {"type": "Unigram", "vocab": []}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(unigram), "utf-8")
    with pytest.raises(AssertionError, match=r"model 'Unigram' of tokenizer.json is not known here: use DJL's"):
        kit.run("ids", tmp_path / "tokenizer.json", tmp_path / "tokenizer.json")


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_pixels_are_within_one_level_of_pillow_s(kit: Kit, tmp_path: Path, resize: Resize, resample: Resample) -> None:
    how, random = Preprocess(32, resize, resample), np.random.default_rng(0)
    sizes = [(32, 32), (33, 70), (70, 33), (200, 121), (20, 31), (20, 60), (97, 301)]
    pictures = [Image.fromarray(random.integers(0, 256, (high, wide, 3), np.uint8)) for wide, high in sizes]
    names = [str(number) for number in range(len(sizes))]
    for name, picture in zip(names, pictures, strict=True):
        write_argb(tmp_path, name, picture)
    (tmp_path / "preprocess.json").write_text(json.dumps(describe(how)), "utf-8")
    kit.run("pixels", tmp_path / "preprocess.json", tmp_path, *names)
    for name, picture in zip(names, pictures, strict=True):
        levels = np.frombuffer((tmp_path / f"{name}.levels").read_bytes(), np.uint8).reshape(3, 32, 32)
        assert np.abs(levels.astype(int) - to_pixels(picture, how)).max() <= 1, name


def test_transparent_and_turned_pictures_get_their_golden_pixels(kit: Kit, tmp_path: Path) -> None:
    how, made = Preprocess(48), dict(made_pictures())
    for name, data in made.items():
        write_argb(tmp_path, name, Image.open(io.BytesIO(data)))
    (tmp_path / "preprocess.json").write_text(json.dumps(describe(how)), "utf-8")
    kit.run("pixels", tmp_path / "preprocess.json", tmp_path, *made)
    for name, data in made.items():
        levels = np.frombuffer((tmp_path / f"{name}.levels").read_bytes(), np.uint8).reshape(3, 48, 48)
        assert np.abs(levels.astype(int) - to_pixels(decode(data), how)).max() <= 1, name


@pytest.mark.parametrize(("length", "wrong"), [(1, 0), (0.9, 1)])
def test_the_golden_check_is_empty_where_all_is_right_and_names_what_is_wrong(
    kit: Kit, searched: SearchWorld, tmp_path: Path, length: float, wrong: int
) -> None:
    golden = read_golden(searched.bundle / "golden")
    differences = golden_check(kit, searched.bundle, tmp_path, length)
    assert len(differences) == wrong * (len(golden.texts) + len(golden.names))
    assert all("cosine" in line for line in differences)


def test_the_golden_check_names_a_text_with_other_ids(kit: Kit, searched: SearchWorld, tmp_path: Path) -> None:
    shutil.copytree(searched.bundle, tmp_path / "bundle")
    document = json.loads((tmp_path / "bundle/golden/golden.json").read_text("utf-8"))
    document["texts"][0]["ids"][1] += 1
    (tmp_path / "bundle/golden/golden.json").write_text(json.dumps(document), "utf-8")
    assert golden_check(kit, tmp_path / "bundle", tmp_path) == ["ids of 'a photo of a cat' differ"]


def test_search_finds_the_rows_that_the_web_page_finds(kit: Kit, tmp_path: Path) -> None:
    rows, queries = np.split(np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32), [50])
    rows[7] = rows[3]  # equal ones come in the order of rows
    (tmp_path / "rows.json").write_text(json.dumps(rows.tolist()), "utf-8")
    lines = kit.run("search", tmp_path / "rows.json", json.dumps({"queries": queries.tolist()}))
    for line, query in zip(lines, queries, strict=True):
        numbers = line.split()
        right = best(*quantise(rows), query, 5)
        assert [int(one) for one in numbers[::2]] == [row for row, _ in right]
        np.testing.assert_allclose([float(one) for one in numbers[1::2]], [score for _, score in right], rtol=1e-5)


def test_ids_of_a_bundle_s_golden_texts_are_equal(kit: Kit, searched: SearchWorld, tmp_path: Path) -> None:
    golden = read_golden(searched.bundle / "golden")
    tokenizer = TextTokenizer(searched.bundle / "tokenizer.json", max(map(len, golden.ids)))
    (tmp_path / "texts.json").write_text(json.dumps(golden.texts), "utf-8")
    lines = kit.run("ids", tokenizer.file, tmp_path / "texts.json")
    assert [[int(one) for one in line.split()] for line in lines] == [ids.tolist() for ids in golden.ids]
