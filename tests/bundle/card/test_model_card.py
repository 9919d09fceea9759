"""The model card says what is in the bundle, what it was made of and how to load it, with nothing left to fill in."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import coremltools
import pytest
import tree_sitter
import tree_sitter_kotlin
import tree_sitter_swift

from conaclip_edge.bundle.card.fields import FILE, GOLDEN, MANIFEST, PREPROCESS, flat
from conaclip_edge.bundle.card.licence import licence_text
from conaclip_edge.bundle.card.model_card import model_card
from conaclip_edge.bundle.card.platforms import kit_files
from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.data.preprocess import Preprocess, describe
from tests.helpers.benchmarks.sample import accelerators

TARGETS = ("onnx", "coreml", "executorch", "coreai")


@pytest.fixture(scope="module")
def manifest(exported) -> Manifest:
    return read_manifest(exported[0])


def only(manifest: Manifest, *targets: str, notes=None, settings=None) -> Manifest:
    """The manifest with files of these targets alone; ExecuTorch's are made of ONNX's, Core AI's of Core ML's."""
    files = []
    for target in targets:
        for file in manifest.files:
            like = file.target == target or (target == "executorch" and file.path.endswith(".onnx"))
            like |= target == "coreai" and file.target == "coreml"
            path = file.path.replace("onnx", {"executorch": "pte"}.get(target, "onnx")).replace("pte/", "executorch/")
            if target == "coreai":
                path = path.replace("coreml/", "coreai/").replace(".mlpackage", ".aimodel")
            changes = {"target": target, "path": path, "notes": notes or file.notes}
            changes |= {"settings": settings or file.settings}
            files += [file.model_copy(update=changes)] if like else []
    return manifest.model_copy(update={"files": tuple(files)})


def card_of(manifest: Manifest) -> str:
    return model_card(manifest, describe(Preprocess(manifest.image_size)))


def snippet(card: str, language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)\n```", card, re.S))


def test_the_card_is_in_the_bundle(exported, manifest):
    assert (exported[0] / "README.md").read_text("utf-8") == card_of(manifest)


def test_every_file_stands_there_with_what_it_measured(manifest):
    card = card_of(manifest)
    for file in manifest.files:
        (line,) = [line for line in card.splitlines() if line.startswith(f"| `{file.path}`")]
        for k in ("1", "5", "10"):
            assert f"{file.gate.alone.recall['t2i'][k]:.1f}" in line
        assert f"{file.gate.cosine.mean:.5f}" in line
        assert file.gate.executed in line
    assert "22 held-out pictures and 33 captions" in card


def test_origin_licence_use_and_limits_are_named(manifest):
    card = card_of(manifest)
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
    assert "The data set states no licence" in card_of(manifest.model_copy(update={"licence": ""}))


def test_a_student_without_a_record_has_a_card_that_says_so(manifest):
    card = card_of(manifest.model_copy(update={"training": {}}))
    assert "- teacher: not recorded" in card
    assert "None" not in card.partition("## Loading it")[0]


@pytest.mark.parametrize("targets", [("onnx",), ("coreml",), ("executorch",), ("onnx", "coreml", "executorch")])
def test_nothing_is_left_to_fill_in(manifest, targets):
    card = card_of(only(manifest, *targets))
    prose = re.sub(r"```.*?```", "", card, flags=re.S)
    assert not re.search(r"TODO|FIXME|XXX|\.\.\.|<[a-z_]+>|[{}]|None|nan", prose)
    assert not re.search(r"TODO|FIXME|XXX|<[a-z]+ [a-z]+>|\{\{|\}\}", card)


def test_each_target_has_its_own_code_with_this_bundles_files(manifest):
    card = card_of(only(manifest, "onnx", "coreml", "executorch"))
    assert 'precision = "fp16"' in snippet(card, "kotlin")
    assert "OnnxTowers(bundle, precision" in snippet(card, "kotlin")
    assert "onnxruntime-android:" in snippet(card, "kotlin")
    assert "executorch-android:" in snippet(card, "kotlin")
    assert 'textName: "text.fp16"' in snippet(card, "swift")
    assert "onnx/image.fp16.onnx" in snippet(card, "python")
    alone = card_of(only(manifest, "executorch"))
    assert "onnxruntime-android:" not in alone
    assert "ExecutorchTowers(" in snippet(alone, "kotlin")
    assert not snippet(alone, "swift")
    assert 'load_program("executorch/image.fp16.pte")' in snippet(alone, "python")
    assert 'open_bundle(".", "coreml", "fp16")' in snippet(card_of(only(manifest, "coreml")), "python")


@pytest.mark.parametrize(
    ("kit", "section", "guide"), [("kotlin", "### Android", "android"), ("swift", "### iOS", "iphone")]
)
def test_an_app_is_asked_to_ship_every_file_that_its_kit_opens(manifest, kit, section, guide):
    files = kit_files(only(manifest, "onnx", "coreml"))
    opened = {
        name for path, code in files.items() if path.startswith(kit) for name in re.findall(r"\b[a-z]+\.json", code)
    }
    assert {"manifest.json", "preprocess.json", "tokenizer.json"} <= opened
    card = card_of(only(manifest, "onnx", "coreml")).partition(section)[2]
    page = (Path(__file__).parents[3] / f"docs/guides/{guide}.md").read_text("utf-8")
    for text in (snippet(card.partition(f"```{kit}")[0], "text"), snippet(page, "text")):
        assert all(name in text or name.startswith("golden") for name in opened), text
        assert "golden/" in text


def test_an_app_ships_one_pair_and_its_size_is_said(manifest):
    card = card_of(only(manifest, "onnx", "executorch"))
    tree = snippet(card.partition("### Android")[2], "text")
    size = sum(file.size for file in manifest.files if file.path in ("onnx/image.fp16.onnx", "onnx/text.fp16.onnx"))
    assert f"onnx/        image.fp16.onnx, text.fp16.onnx: {size / 1e6:.2f} MB, by ONNX Runtime" in tree
    assert "image.fp16.pte, text.fp16.pte" in tree
    assert "by ExecuTorch instead" in tree
    assert "instead" not in snippet(card_of(only(manifest, "executorch")).partition("### Android")[2], "text")


@pytest.mark.parametrize(("target", "kit"), [("onnx", "OnnxTowers.kt"), ("executorch", "ExecutorchTowers.kt")])
def test_a_release_build_keeps_every_class_of_the_runtime_that_the_kit_imports(manifest, target, kit):
    kits = kit_files(only(manifest, target))
    imported = re.findall(r"^import ((?:ai\.onnxruntime|org\.pytorch)[\w.]*)\.\w+$", kits[f"kotlin/{kit}"], re.M)
    kept = re.findall(r"^-keep class ([\w.]+)\.\*\* ", card_of(only(manifest, target)), re.M)
    assert set(imported) <= set(kept)


def test_core_ai_has_its_systems_and_the_functions_of_its_asset(manifest):
    both = card_of(only(manifest, "coreml", "coreai", notes={"lengths": [8, 12]}))
    assert "iOS 27, macOS 27 or newer. Older ones take the Core ML packages above" in both
    assert "`main_length_8`, `main_length_12`" in both
    assert 'CoreaiEncoder(folder: folder, precision: "fp16", lengths: [8, 12])' in snippet(both, "swift")
    alone = card_of(only(manifest, "coreai", notes={"versions": {}}))
    assert "a function `main`;" in alone
    assert "Older ones" not in alone
    assert "swift-transformers" in alone
    assert 'open_bundle(".", "coreai", "fp16")' in snippet(alone, "python")


def test_android_loads_the_onnx_file_and_the_card_says_what_the_ort_file_is_for(manifest):
    android = kit_files(only(manifest, "onnx"))["kotlin/OnnxTowers.kt"]
    assert ".onnx" in android
    assert ".ort" not in android
    assert "take `.onnx`" in card_of(only(manifest, "onnx"))


def test_the_kit_has_the_parts_of_the_targets(manifest):
    names = {target: {Path(name).name for name in kit_files(only(manifest, target))} for target in TARGETS}
    assert names["coreml"] ^ names["coreai"] == {"CoremlEncoder.swift", "CoreaiEncoder.swift"}
    assert names["onnx"] ^ names["executorch"] == {"OnnxTowers.kt", "ExecutorchTowers.kt"}
    parts = {"Encoder", "Pixels", "Search", "GoldenCheck"}
    assert {f"{part}.swift" for part in parts} < names["coreml"]
    assert {f"{part}.kt" for part in (*parts, "Tokenizer")} < names["onnx"]


def test_kit_and_licence_are_members_of_the_bundle(exported, manifest):
    files = {**kit_files(manifest), "LICENSE.md": licence_text(manifest)}
    for name, text in files.items():
        assert (exported[0] / name).read_text("utf-8") == text
        assert name in manifest.members


def test_the_python_names_the_sizes_and_ids_of_this_student(manifest):
    python = snippet(card_of(only(manifest, "onnx")), "python")
    assert "crop((left, top, left + 32, top + 32))" in python
    assert "<= 12 or ids[-1] != 40" in python
    fixed = snippet(card_of(only(manifest, "onnx", notes={"lengths": [4, 12]})), "python")
    assert "for n in [4, 12] if n >= len(ids)" in fixed


def test_the_card_says_which_lengths_of_texts_a_core_ml_file_takes(manifest):
    assert "of 4, 8, 12 ids" in card_of(only(manifest, "coreml", notes={"lengths": [4, 8, 12]}))
    assert "of any length" in card_of(only(manifest, "coreml"))


@pytest.mark.parametrize(("deployment", "systems"), [("iOS17", "iOS 17, macOS 14"), ("iOS18", "iOS 18, macOS 15")])
def test_the_card_says_which_systems_a_core_ml_file_needs(manifest, deployment, systems):
    card = card_of(only(manifest, "coreml", settings={"deployment": deployment}))
    version = getattr(coremltools.target, deployment).value
    assert f"{systems} or newer (specification version {version} " in card


def test_a_picture_that_is_squashed_is_not_cropped(manifest):
    squash = describe(Preprocess(manifest.image_size)) | {"crop": None}
    squash["resize"] = {"width": 32, "height": 32, "filter": "bilinear", "antialias": True}
    card = model_card(only(manifest, "onnx"), squash)
    assert "resize((32, 32), Image.Resampling.BILINEAR)" in snippet(card, "python")
    assert "picture.crop(" not in card
    assert "both sides scaled" in card


def faults(code: str, language: object) -> list[str]:
    """Lines that a parser of the language does not understand."""
    found, open_nodes = [], [tree_sitter.Parser(tree_sitter.Language(language)).parse(code.encode()).root_node]
    while open_nodes:
        node = open_nodes.pop()
        if node.is_error or node.is_missing:
            found.append(code.splitlines()[node.start_point.row])
        open_nodes += node.children
    return found


def test_swift_kotlin_and_python_parse(manifest):
    everything = only(manifest, *TARGETS)
    card = card_of(everything)
    code = {"use.swift": snippet(card, "swift"), "use.kt": snippet(card, "kotlin")} | kit_files(everything)
    for name, text in code.items():
        language = tree_sitter_swift if name.endswith(".swift") else tree_sitter_kotlin
        assert faults(text, language.language()) == [], name
        assert all(len(line) <= 120 for line in text.splitlines()), name
    assert faults("func broken( {", tree_sitter_swift.language())
    for targets in TARGETS:
        ast.parse(snippet(card_of(only(manifest, targets)), "python"))


def test_every_field_of_the_json_files_is_explained(exported, manifest):
    golden = json.loads((exported[0] / "golden/golden.json").read_text("utf-8"))
    written = json.loads((exported[0] / "manifest.json").read_text("utf-8"))
    assert set(written) == set(MANIFEST) - Manifest.later
    assert set(written["files"][0]) | {"form"} == set(FILE)
    assert set(golden) == set(GOLDEN)
    fields = dict(flat(json.loads((exported[0] / "preprocess.json").read_text("utf-8"))))
    assert set(fields) <= set(PREPROCESS)
    card = card_of(manifest)
    for key in [*fields, *MANIFEST, *FILE, *GOLDEN]:
        assert f"| `{key}` | " in card, key


def test_the_licence_says_what_is_known_and_what_is_not(manifest):
    text = licence_text(manifest)
    for part in ("Bars: CC0.", "a teacher of bars", "its licence was not recorded", "Apache-2.0"):
        assert part in text, part
    bare = licence_text(manifest.model_copy(update={"training": {}, "licence": ""}))
    assert "The data set states no licence" in bare
    assert "Teacher: not recorded" in bare
    assert "None" not in bare


def test_what_accelerators_take_stands_in_a_table_of_its_own(manifest):
    assert "## Accelerators" not in card_of(manifest)
    card = card_of(only(manifest, "onnx", "executorch", notes={"accelerators": accelerators()}))
    section = card.partition("## Accelerators\n")[2].partition("\n## ")[0]
    assert "| onnx/image.fp16.onnx | 67 of 68 (2) | not checked |" in section
    assert "| executorch/text.fp16.pte |" in section
    assert "Read from: NNAPI: checker 1.2; QNN: partitioner 3.4." in section
    assert "## Accelerators" not in card_of(only(manifest, "onnx", notes={"accelerators": [{"name": 3}]}))
