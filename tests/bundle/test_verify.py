"""Whatever is wrong with a bundle is found and named; nothing outside its folder is opened; what cannot run is said."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from conaclip_edge.bundle.manifest import Manifest, digest_of, manifest_text, read_manifest
from conaclip_edge.bundle.members import Member, hashed, unsafe
from conaclip_edge.bundle.verify import VerifyReport, require_ok, verify_bundle, verify_table
from conaclip_edge.data import preprocess
from conaclip_edge.errors import GateFailed, UserError
from conaclip_edge.runtime.open_tower import RUNTIMES, Runtime
from conaclip_edge.system.extras import not_installed
from tests.helpers.bar_pictures import SPECIAL
from tests.helpers.stand_in_exporter import begins_at, blurred, masked_by, not_normalised


@pytest.fixture
def sound(exported, stand_in, tmp_path) -> Path:
    """A copy of a bundle that is as it was exported."""
    folder, made = exported
    stand_in.kept = dict(made.kept)
    shutil.copytree(folder, tmp_path / "bundle")
    return tmp_path / "bundle"


def found(bundle: Path) -> list[tuple[str, str]]:
    """Kind and member of every problem; the report has to be JSON and to agree with itself."""
    report = verify_bundle(bundle)
    assert VerifyReport.model_validate_json(report.model_dump_json()) == report
    assert report.ok == (not report.problems)
    if not report.ok:
        with pytest.raises(GateFailed) as caught:
            require_ok(report)
        assert all(problem.member in str(caught.value) for problem in report.problems)
        assert not any(file.executed != "not run" for file in report.files if _integrity(report))
    return [(problem.kind, problem.member) for problem in report.problems]


def _integrity(report: VerifyReport) -> bool:
    kinds = ("altered", "missing", "extra", "link", "unsafe-path")
    return any(problem.kind in kinds for problem in report.problems)


def resealed(bundle: Path, **changes) -> None:
    """Write the manifest again, as someone would who changes a bundle and fits the hashes to it."""
    manifest = read_manifest(bundle).model_copy(update={"members": hashed(bundle)} | changes)
    manifest = manifest.model_copy(update={"digest": digest_of(manifest)})
    (bundle / "manifest.json").write_text(manifest_text(manifest), "utf-8")


def test_a_sound_bundle_is_ok_and_says_how_each_file_was_run(sound):
    report = verify_bundle(sound)
    assert report.ok
    require_ok(report)
    executed = {file.path: file.executed for file in report.files}
    assert executed["onnx/image.fp16.onnx"] == executed["onnx/text.fp16.ort"] == "native"
    assert executed["coreml/text.fp16.mlpackage"] == "reference"
    assert all(file.cosine_min == pytest.approx(1, abs=1e-5) for file in report.files)
    text = verify_table(report)
    assert text.splitlines()[-1] == "ok"
    assert "coreml/text.fp16.mlpackage" in text
    assert "reference" in text


def test_a_flipped_bit_in_any_member_is_named(sound):
    members = read_manifest(sound).members
    assert len(members) > 20
    for name in members:
        path = sound / name
        whole = path.read_bytes()
        place = len(whole) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert found(sound) == [("altered", name)]
        path.write_bytes(whole)


def test_a_byte_more_or_less_is_named(sound):
    path = sound / "tokenizer.json"
    whole = path.read_bytes()
    for changed in (whole + b"\n", whole[:-1], b""):
        path.write_bytes(changed)
        assert found(sound) == [("altered", "tokenizer.json")]


def test_any_missing_member_is_named(sound):
    for name in read_manifest(sound).members:
        (sound / name).rename(sound.parent / "aside")
        assert found(sound) == [("missing", name)]
        (sound.parent / "aside").rename(sound / name)


@pytest.mark.parametrize("name", ["note.txt", "onnx/image.int8.onnx", "coreml/text.fp16.mlpackage/Data/x", ".hidden"])
def test_an_extra_member_is_named(sound, name):
    (sound / name).write_bytes(b"more")
    assert found(sound) == [("extra", name)]


def test_several_problems_are_all_named(sound):
    (sound / "extra").write_bytes(b"")
    (sound / "README.md").unlink()
    (sound / "preprocess.json").write_text("{}")
    assert set(found(sound)) == {("extra", "extra"), ("missing", "README.md"), ("altered", "preprocess.json")}


@pytest.mark.parametrize(
    "name", ["../secret", "onnx/../../secret", "/etc/hostname", "..\\secret", "C:/secret", "a//b", "./a"]
)
def test_a_path_that_is_not_plainly_inside_is_refused_and_not_opened(sound, name, monkeypatch):
    secret = sound.parent / "secret"
    secret.write_bytes(b"secret")
    members = read_manifest(sound).members | {name: Member(sha256="0" * 64, size=6)}
    resealed(sound, members=members)
    opened = []
    real = open
    monkeypatch.setattr("builtins.open", lambda file, *a, **k: opened.append(str(file)) or real(file, *a, **k))
    assert found(sound) == [("unsafe-path", name)]
    assert not any("secret" in file or "hostname" in file for file in opened)


@given(st.text(alphabet="ab./\\:\0", max_size=12))
def test_a_path_that_counts_as_safe_stays_inside(name):
    if not unsafe(name):
        root = Path("/bundle")
        assert Path(os.path.normpath(root / name)) == root / name
        assert root in (root / name).parents
        assert "\\" not in name
        assert ":" not in name


@pytest.mark.parametrize("inside", [True, False])
def test_a_symbolic_link_is_named_even_where_its_content_fits(sound, inside):
    whole = (sound / "tokenizer.json").read_bytes()
    target = sound.parent / "elsewhere.json"
    if inside:
        target = sound / "golden/golden.json"
        whole = target.read_bytes()
    target.write_bytes(whole)
    (sound / "tokenizer.json").unlink()
    (sound / "tokenizer.json").symlink_to(target)
    assert found(sound) == [("link", "tokenizer.json")]


def test_a_linked_folder_is_named_once_and_not_entered(sound):
    shutil.move(sound / "onnx", sound.parent / "onnx")
    (sound / "onnx").symlink_to(sound.parent / "onnx")
    assert found(sound) == [("link", "onnx")]


def test_a_linked_manifest_is_named(sound):
    shutil.move(sound / "manifest.json", sound.parent / "manifest.json")
    (sound / "manifest.json").symlink_to(sound.parent / "manifest.json")
    assert found(sound) == [("manifest", "manifest.json")]


def test_a_pipe_is_named_and_not_read(sound):
    os.mkfifo(sound / "pipe")
    assert found(sound) == [("irregular", "pipe")]
    (sound / "manifest.json").unlink()
    os.mkfifo(sound / "manifest.json")
    assert found(sound) == [("manifest", "manifest.json")]


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_a_flipped_bit_in_the_manifest_is_found_wherever_it_is(sound, place):
    path = sound / "manifest.json"
    whole = path.read_bytes()
    position = len(whole) * place // 100
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    assert found(sound) == [("manifest", "manifest.json")]


def test_an_exported_file_that_is_no_member_is_not_run(sound, stand_in):
    files = read_manifest(sound).files
    outside = files[0].model_copy(update={"path": "../onnx/image.fp16.onnx"})
    resealed(sound, files=(outside, *files[1:]))
    stand_in.batches.clear()
    assert found(sound) == [("unlisted", "../onnx/image.fp16.onnx")]
    assert stand_in.batches == []


def test_another_schema_and_unknown_keys_are_refused(sound):
    content = json.loads((sound / "manifest.json").read_text("utf-8"))
    for change in ({"schema": "conaclip-edge/bundle/2"}, {"more": 1}, {"embed_dim": "16"}, {"context": None}):
        (sound / "manifest.json").write_text(json.dumps(content | change), "utf-8")
        report = verify_bundle(sound)
        assert [problem.kind for problem in report.problems] == ["manifest"]
        assert next(iter(change)) in report.problems[0].detail


def test_no_bundle_is_a_wrong_use_not_a_failed_gate(tmp_path):
    with pytest.raises(UserError, match=r"no bundle at .*: it has no manifest\.json"):
        verify_bundle(tmp_path)


def test_a_squashed_resize_on_this_host_is_found_by_the_golden_pixels(sound, monkeypatch):
    monkeypatch.setattr(preprocess, "resize_crop", lambda picture, size, resample: picture.resize((size, size), 3))
    names = {member for kind, member in found(sound) if kind == "pixels"}
    assert {"golden/pictures/wide.png", "golden/pictures/tall.jpg", "golden/pictures/grey.png"} <= names


def test_a_tokenizer_that_gives_other_ids_is_found_though_its_hash_fits(sound):
    path = sound / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    content["model"]["unk_token"] = "w3"
    path.write_text(json.dumps(content), "utf-8")
    resealed(sound)
    problems = found(sound)
    assert problems
    assert set(problems) == {("ids", "tokenizer.json")}


def test_changed_golden_ids_pixels_and_embeddings_are_found_though_the_hashes_fit(sound):
    path = sound / "golden/golden.safetensors"
    tensors = load_file(path)
    for name, more in (("picture.pixels", {"pixels"}), ("text.embedding", set())):
        changed = copy.deepcopy(tensors)
        changed[name] = np.roll(changed[name], 1, axis=0)
        save_file(changed, path)
        resealed(sound)
        assert {kind for kind, _ in found(sound)} == {"embedding", "drift"} | more


def test_a_foreign_description_of_the_preprocessing_is_found(sound):
    content = json.loads((sound / "preprocess.json").read_text("utf-8"))
    content["resize"]["filter"] = "bilinear"
    (sound / "preprocess.json").write_text(json.dumps(content), "utf-8")
    resealed(sound)
    assert found(sound) == [("preprocess", "preprocess.json")]


def test_a_file_that_got_worse_since_its_export_is_found_though_each_vector_is_within_tolerance(sound, stand_in):
    """Scores doubled, queries and keys swapped: such faults leave cosines of 0.99."""
    for content, kept in stand_in.kept.items():
        if b"coreml text" in content:
            stand_in.kept[content] = blurred(copy.deepcopy(kept))
    files = tuple(file.model_copy(update={"precision": "int8"}) for file in read_manifest(sound).files)
    resealed(sound, files=files)
    assert found(sound) == [("drift", "coreml/text.fp16.mlpackage")]


FAULTS = {
    "wrong EOS": ("text", begins_at(SPECIAL["[CLS]"]), "embedding"),
    "not normalised": ("image", not_normalised, "norm"),
    "mask of -inf": ("text", masked_by(float(np.finfo(np.float32).min)), "embedding"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_computes_something_else_is_found_though_its_hash_fits(sound, stand_in, fault):
    tower, change, kind = FAULTS[fault]
    for content, kept in stand_in.kept.items():
        if f"onnx {tower}".encode() in content:
            stand_in.kept[content] = change(copy.deepcopy(kept))
    assert set(found(sound)) >= {(kind, f"onnx/{tower}.fp16.onnx"), (kind, f"onnx/{tower}.fp16.ort")}
    assert {member for _, member in found(sound)} == {f"onnx/{tower}.fp16.onnx", f"onnx/{tower}.fp16.ort"}


def test_swapped_files_are_found(sound):
    a, b = sound / "onnx/image.fp16.onnx", sound / "onnx/image.fp16.ort"
    first = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(first)
    assert found(sound) == [("altered", "onnx/image.fp16.onnx"), ("altered", "onnx/image.fp16.ort")]


def without_coremltools(path: Path, threads: int) -> None:
    raise not_installed("coremltools")


def test_a_file_without_its_runtime_is_not_run_and_no_mismatch(sound, monkeypatch):
    monkeypatch.setitem(RUNTIMES, ".mlpackage", Runtime("coreml", __name__, "without_coremltools"))
    report = verify_bundle(sound)
    assert report.ok
    (file,) = (file for file in report.files if file.path == "coreml/image.fp16.mlpackage")
    assert file.executed == "not run"
    assert "conaclip-edge[coreml]" in file.reason
    assert file.cosine_min is file.cosine_mean is None


def test_a_file_that_its_runtime_refuses_is_a_mismatch(sound, stand_in):
    (sound / "onnx/text.fp16.onnx").write_bytes(b"no program")
    resealed(sound)
    assert found(sound) == [("unreadable", "onnx/text.fp16.onnx")]


def test_golden_vectors_that_do_not_fit_together_are_named(sound):
    tensors = load_file(sound / "golden/golden.safetensors")
    save_file({"text.embedding": tensors["text.embedding"]}, sound / "golden/golden.safetensors")
    resealed(sound)
    assert found(sound) == [("golden", "golden")]


def test_the_manifest_of_a_bundle_is_its_own_only_text(sound):
    text = (sound / "manifest.json").read_text("utf-8")
    assert manifest_text(read_manifest(sound)) == text
    assert isinstance(read_manifest(sound), Manifest)
    (sound / "manifest.json").write_text(text.replace('": ', '":  ', 1), "utf-8")
    assert found(sound) == [("manifest", "manifest.json")]


def test_verifying_changes_nothing(sound):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sound.rglob("*")}
    verify_bundle(sound)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sound.rglob("*")} == before
