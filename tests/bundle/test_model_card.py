"""The model card says what is in the bundle, what it was made of and how to load it, with nothing left to fill in."""

from __future__ import annotations

import ast
import re

import pytest

from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.bundle.model_card import model_card


@pytest.fixture(scope="module")
def manifest(exported) -> Manifest:
    return read_manifest(exported[0])


def only(manifest: Manifest, *targets: str, notes=None, settings=None) -> Manifest:
    """The manifest with files of these targets alone; ExecuTorch's are made of ONNX's."""
    files = []
    for target in targets:
        for file in manifest.files:
            like = file.target == target or (target == "executorch" and file.path.endswith(".onnx"))
            path = file.path.replace("onnx", {"executorch": "pte"}.get(target, "onnx")).replace("pte/", "executorch/")
            changes = {"target": target, "path": path, "notes": notes or file.notes}
            changes |= {"settings": settings or file.settings}
            files += [file.model_copy(update=changes)] if like else []
    return manifest.model_copy(update={"files": tuple(files)})


def snippet(card: str, language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)\n```", card, re.S))


def test_the_card_is_in_the_bundle(exported, manifest):
    assert (exported[0] / "README.md").read_text("utf-8") == model_card(manifest)


def test_every_file_stands_there_with_what_it_measured(manifest):
    card = model_card(manifest)
    for file in manifest.files:
        (line,) = [line for line in card.splitlines() if line.startswith(f"| `{file.path}`")]
        for k in ("1", "5", "10"):
            assert f"{file.gate.alone.recall['t2i'][k]:.1f}" in line
        assert f"{file.gate.cosine.mean:.5f}" in line
        assert file.gate.executed in line
    assert "22 held-out pictures and 33 captions" in card


def test_origin_licence_use_and_limits_are_told(manifest):
    card = model_card(manifest)
    stated = ["a teacher of bars", "1,234 + 5,678 parameters", "Bars: CC0.", "322 train pictures"]
    headings = [
        "## Files",
        "## Teacher, student, data",
        "## Intended use",
        "## Limits",
        "## Loading it",
        "## Checking it",
    ]
    for part in [*stated, *headings, manifest.embedding_space]:
        assert part in card, part


def test_data_without_a_licence_are_said_to_have_none(manifest):
    assert "The data set states no licence" in model_card(manifest.model_copy(update={"licence": ""}))


def test_a_student_without_a_record_has_a_card_that_says_so(manifest):
    card = model_card(manifest.model_copy(update={"training": {}}))
    assert "- teacher: not recorded" in card
    assert "None" not in card.partition("## Loading it")[0]


@pytest.mark.parametrize("targets", [("onnx",), ("coreml",), ("executorch",), ("onnx", "coreml", "executorch")])
def test_nothing_is_left_to_fill_in(manifest, targets):
    card = model_card(only(manifest, *targets))
    prose = re.sub(r"```.*?```", "", card, flags=re.S)
    assert not re.search(r"TODO|FIXME|XXX|\.\.\.|<[a-z_]+>|[{}]|None|nan", prose)
    assert not re.search(r"TODO|FIXME|XXX|<[a-z]+ [a-z]+>|\{\{|\}\}", card)


def test_each_target_has_its_own_snippet_with_this_bundles_paths(manifest):
    card = model_card(only(manifest, "onnx", "coreml", "executorch"))
    assert "OrtEnvironment" in snippet(card, "kotlin")
    assert "onnx/text.fp16.ort" in snippet(card, "kotlin")
    assert "executorch/image.fp16.pte" in snippet(card, "kotlin")
    assert 'load("text.fp16")' in snippet(card, "swift")
    assert "onnx/image.fp16.onnx" in snippet(card, "python")
    alone = model_card(only(manifest, "executorch"))
    assert "OrtEnvironment" not in alone
    assert not snippet(alone, "swift")
    assert 'open_bundle(".", "executorch", "fp16")' in snippet(alone, "python")


def test_the_snippets_name_the_sizes_and_ids_of_this_student(manifest):
    card = model_card(only(manifest, "onnx", "coreml", "executorch"))
    for language in ("swift", "kotlin"):
        assert re.search(r"1, 3, 32, 32", snippet(card, language)), language
        assert "end with 40" in snippet(card, language)
    assert "enable_truncation(12)" in snippet(card, "python")


def test_swift_fills_texts_up_to_the_lengths_that_the_file_takes(manifest):
    fixed = snippet(model_card(only(manifest, "coreml", notes={"lengths": [4, 8, 12]})), "swift")
    assert "[4, 8, 12].first { $0 >= ids.count }!" in fixed
    assert "ids[i] : 0)" in fixed
    free = snippet(model_card(only(manifest, "coreml")), "swift")
    assert "let length = ids.count\n" in free


def test_swift_takes_a_picture_where_the_file_does(manifest):
    swift = snippet(model_card(only(manifest, "coreml", settings={"image_input": "image"})), "swift")
    assert "MLFeatureValue(pixelBuffer: picture)" in swift
    assert "MLMultiArray(shape: [1, 3" not in swift


def test_the_snippets_are_well_formed(manifest):
    card = model_card(only(manifest, "onnx", "coreml", "executorch"))
    for language in ("swift", "kotlin"):
        code = snippet(card, language)
        for left, right in ("{}", "()", "[]"):
            assert code.count(left) == code.count(right), (language, left)
    ast.parse(snippet(card, "python"))
    ast.parse(snippet(model_card(only(manifest, "coreml")), "python"))
