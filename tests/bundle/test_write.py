"""A bundle lists all that it holds, knows its embedding space, grows by targets, and is written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from conaclip_edge.bundle.manifest import ExportedFile, Manifest, parse_manifest, read_manifest
from conaclip_edge.bundle.members import member_problems
from conaclip_edge.bundle.write import TargetFiles, embedding_space, write_bundle
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.checkpoint import load_student, save_student


@pytest.fixture(scope="module")
def student(bars):
    return load_student(bars / "student")


@pytest.fixture
def bundle(exported, tmp_path) -> Path:
    shutil.copytree(exported[0], tmp_path / "bundle")
    return tmp_path / "bundle"


def renamed(file: ExportedFile, **changes) -> ExportedFile:
    return file.model_copy(update=changes)


def test_every_file_is_a_member_with_its_hash_and_size(exported):
    folder, _ = exported
    members = read_manifest(folder).members
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files.pop("manifest.json")
    assert {name: (member.sha256, member.size) for name, member in members.items()} == {
        name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in files.items()
    }
    assert "coreml/image.fp16.mlpackage/Data/weights.bin" in members


def test_the_manifest_says_what_an_app_needs(exported, student):
    folder, _ = exported
    content = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert content["schema"] == "conaclip-edge/bundle/1"
    config = student.model.config
    expected = {
        "embed_dim": config.embed_dim,
        "image_size": config.image.size,
        "context": config.text.context,
        "vocab_size": config.text.vocab_size,
        "eos_id": 40,
        "pad_id": 0,
        "name": "bars",
        "licence": "Bars: CC0.",
    }
    assert {key: content[key] for key in expected} == expected
    assert content["training"]["recipe"]["name"] == "bars"
    assert {"torch", "conaclip-edge"} <= set(content["versions"])
    row = content["files"][0]
    assert {"path", "target", "precision", "tower", "backend", "size", "float_size", "notes", "gate"} <= set(row)


def test_nothing_in_the_manifest_depends_on_the_clock(exported):
    text = (exported[0] / "manifest.json").read_text("utf-8")
    assert "seconds" not in text
    assert not re.search(r"20\d\d-\d\d-\d\d", text)


def test_notes_of_one_tower_stay_with_it(exported):
    notes = {file.path: file.notes for file in read_manifest(exported[0]).files}
    assert notes["onnx/image.fp16.onnx"] == {"opset": 23, "nodes": 7}
    assert notes["onnx/text.fp16.onnx"] == {"opset": 23, "nodes": 9}


def test_the_size_of_a_package_is_that_of_its_files(exported):
    folder, _ = exported
    row = next(file for file in read_manifest(folder).files if file.path == "coreml/text.fp16.mlpackage")
    assert row.size == (folder / row.path / "Data/weights.bin").stat().st_size
    student_row = next(file for file in read_manifest(folder).files if file.path == "onnx/text.fp16.onnx")
    assert student_row.float_size == row.float_size


def test_float_size_counts_every_parameter_of_the_tower_with_its_token_table(exported, student):
    rows = {file.tower: file.float_size for file in read_manifest(exported[0]).files}
    for tower in ("image", "text"):
        module = getattr(student.model, tower)
        assert rows[tower] == 4 * sum(parameter.numel() for parameter in module.parameters())


def test_the_embedding_space_changes_when_any_weight_changes(bars):
    student = load_student(bars / "student")
    seen = {embedding_space(student)}
    state = student.model.state_dict()
    with torch.no_grad():
        for name, value in state.items():
            flat = value.view(-1)
            before = flat[-1].clone()
            flat[-1] = (
                float(np.nextafter(np.float32(before), np.float32(9))) if value.is_floating_point() else before + 1
            )
            seen.add(embedding_space(student))
            flat[-1] = before
            assert name
    assert len(seen) == len(state) + 1
    assert embedding_space(student) in seen


def test_the_embedding_space_is_that_of_the_content_not_of_the_folder(bars, tmp_path):
    student = load_student(bars / "student")
    tokenizer = json.loads((bars / "student/tokenizer.json").read_text("utf-8"))
    save_student(student.model, tokenizer, {"other": "record"}, tmp_path / "again")
    shutil.copyfile(bars / "student/tokenizer.json", tmp_path / "again/tokenizer.json")
    assert embedding_space(load_student(tmp_path / "again")) == embedding_space(student)


@pytest.mark.parametrize("part", ["tokenizer", "mean", "heads"])
def test_the_embedding_space_changes_with_what_no_weight_shows(bars, tmp_path, part):
    folder = tmp_path / "student"
    shutil.copytree(bars / "student", folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if part == "tokenizer":
        (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text("utf-8") + " ", "utf-8")
    elif part == "mean":
        config["conaclip_edge"]["image"]["mean"][1] += 0.001
    else:
        config["conaclip_edge"]["text"]["heads"] = 2
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    assert embedding_space(load_student(folder)) != embedding_space(load_student(bars / "student"))


def test_files_of_the_same_kind_are_replaced_and_others_stay(bundle, tmp_path):
    start = read_manifest(bundle)
    new = tmp_path / "new"
    new.mkdir()
    rows = []
    for tower in ("image", "text"):
        (new / f"{tower}.fp16.onnx").write_bytes(b"newer")
        row = next(file for file in start.files if file.path == f"onnx/{tower}.fp16.onnx")
        rows.append(renamed(row, size=5))
    manifest = write_bundle(bundle, start, bundle, [TargetFiles(new, "onnx", tuple(rows))])
    paths = [file.path for file in manifest.files]
    assert "onnx/image.fp16.ort" not in paths, "a row outlived its export"
    assert not (bundle / "onnx/image.fp16.ort").exists(), "a file outlived its export"
    assert (bundle / "onnx/image.fp16.onnx").read_bytes() == b"newer"
    assert "coreml/image.fp16.mlpackage" in paths
    assert set(manifest.members) >= set(start.members) - {"onnx/image.fp16.ort", "onnx/text.fp16.ort"}


def test_another_precision_of_a_target_stands_beside_the_first(bundle, tmp_path):
    start = read_manifest(bundle)
    new = tmp_path / "new"
    new.mkdir()
    (new / "image.fp32.onnx").write_bytes(b"x")
    row = renamed(start.files[-1], path="onnx/image.fp32.onnx", precision="fp32", target="onnx")
    manifest = write_bundle(bundle, start, bundle, [TargetFiles(new, "onnx", (row,))])
    assert len(manifest.files) == len(start.files) + 1
    assert "onnx/image.fp16.onnx" in manifest.members


def test_a_bundle_from_before_the_licence_file_is_whole_and_gets_one_when_it_grows(bundle):
    (bundle / "LICENSE.md").unlink()
    for kit in ("kotlin", "swift"):
        shutil.rmtree(bundle / kit)
    start = read_manifest(bundle)
    members = {name: one for name, one in start.members.items() if (bundle / name).exists()}
    assert len(members) < len(start.members) - 1
    assert member_problems(bundle, members) == []
    manifest = write_bundle(bundle, start.model_copy(update={"members": members}), bundle, [])
    assert {"LICENSE.md", "kotlin/Pixels.kt", "swift/Pixels.swift"} <= set(manifest.members)
    assert member_problems(bundle, manifest.members) == []


def test_the_kit_goes_with_its_target(bundle):
    for old in ("kotlin", "examples/kotlin"):
        (bundle / old).mkdir(parents=True, exist_ok=True)
        (bundle / old / "Old.kt").write_text("of a version before")
    start = read_manifest(bundle)
    files = tuple(file for file in start.files if file.target == "coreml")
    manifest = write_bundle(bundle, start.model_copy(update={"files": files}), bundle, [])
    assert not any(name.endswith(".kt") for name in manifest.members)
    assert "swift/Encoder.swift" in manifest.members


def test_a_failure_while_writing_leaves_the_old_bundle_alone(bundle):
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}

    def fails(_: Manifest, __: object) -> str:
        raise RuntimeError("the disk is on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        write_bundle(bundle, read_manifest(bundle), bundle, [], fails)
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"], "half a bundle was left"


BROKEN = {
    "unknown key": (lambda content: content | {"colour": 1}, "'colour'"),
    "unknown key of a file": (lambda content: _file(content, colour=1), r"'files\.0\.colour'"),
    "number as text": (lambda content: content | {"embed_dim": "16"}, "'embed_dim'"),
    "missing key": (lambda content: {key: content[key] for key in content if key != "context"}, "'context'"),
    "hash that is none": (lambda content: content | {"embedding_space": "abc"}, "'embedding_space'"),
    "test split": (lambda content: _gate(content, split="test"), r"'files\.0\.gate\.split'"),
    "unknown target": (
        lambda content: _file(content, target="onxx"),
        r"'files\.0\.target': should be one of onnx, exec",
    ),
    "other schema": (lambda content: content | {"schema": "conaclip-edge/bundle/2"}, "'schema'"),
    "edited figure": (lambda content: _gate(content, norm_error=0.0), "its digest does not fit"),
}


def _file(content, **changes):
    return content | {"files": [content["files"][0] | changes, *content["files"][1:]]}


def _gate(content, **changes):
    return _file(content, gate=content["files"][0]["gate"] | changes)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_manifest_is_read_strictly(exported, fault):
    change, message = BROKEN[fault]
    content = change(json.loads((exported[0] / "manifest.json").read_text("utf-8")))
    with pytest.raises(UserError, match=message):
        parse_manifest(f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode(), "manifest.json")


def test_a_manifest_that_is_no_json_is_reported_in_one_line():
    with pytest.raises(UserError, match=r"manifest\.json: 'document': Invalid JSON") as caught:
        parse_manifest(b"{", "manifest.json")
    assert "\n" not in str(caught.value)
