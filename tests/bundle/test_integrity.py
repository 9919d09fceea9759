"""A member of a bundle that is not what the manifest says is named before anything runs it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from conaclip_edge.bundle.integrity import check_members
from conaclip_edge.bundle.members import hashed
from conaclip_edge.bundle.open import open_bundle
from conaclip_edge.errors import UserError
from conaclip_edge.runtime.open_tower import RUNTIMES, Runtime
from conaclip_edge.system.files import read_json, sha256_file, write_json
from tests.helpers.search.small_index import write_bundle, write_pictures

IMAGE, TEXT = "onnx/image.int8.onnx", "onnx/text.int8.onnx"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def no_runtime(path: Path, threads: int) -> None:
    pytest.fail(f"a runtime was given {path}, which was changed")


def message(folder: Path, name: str, reason: str) -> str:
    return f"bundle {folder} is not run: {name} {reason}. Look at all of it: conaclip-edge verify {folder}"


def altered(folder: Path, name: str, before: str) -> str:
    found = sha256_file(folder / name)
    return message(folder, name, f"has sha256 {found[:12]}.., the manifest says {before[:12]}..")


@pytest.mark.parametrize("name", [IMAGE, TEXT, "tokenizer.json"])
def test_one_changed_bit_of_a_member_is_named_and_no_runtime_sees_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bundle(tmp_path / "bundle")
    assert open_bundle(folder, "onnx").image_size == 8
    before = sha256_file(folder / name)
    flip(folder / name)
    monkeypatch.setitem(RUNTIMES, ".onnx", Runtime("onnx", __name__, "no_runtime"))
    with pytest.raises(UserError, match=f"^{re.escape(altered(folder, name, before))}$"):
        open_bundle(folder, "onnx")


@pytest.mark.parametrize("members", [None, [], {}, {IMAGE: "ab"}, {IMAGE: {"size": 9}}])
def test_a_manifest_that_lists_no_hash_is_no_leave_to_run(members: object, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    write_json(folder / "manifest.json", read_json(folder / "manifest.json", "") | {"members": members})
    with pytest.raises(UserError, match=f"^{re.escape(message(folder, IMAGE, 'is not listed in the manifest'))}$"):
        open_bundle(folder, "onnx")


HARMS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "changed": (lambda package: flip(package / "Data/weight.bin"), "Data/weight.bin", "has sha256 "),
    "more": (lambda package: (package / "a.bin").write_bytes(b"x"), "a.bin", "is not listed in the manifest"),
    "less": (
        lambda package: (package / "Data/weight.bin").unlink(),
        "Data/weight.bin",
        "is listed in the manifest, but",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_every_file_of_a_package_counts(harm: str, tmp_path: Path) -> None:
    package = tmp_path / "coreml" / "image.int8.mlpackage"
    (package / "Data").mkdir(parents=True)
    for name in ("Manifest.json", "Data/weight.bin"):
        (package / name).write_bytes(name.encode())
    manifest = {"members": {name: member.model_dump() for name, member in hashed(tmp_path).items()}}
    check_members(tmp_path, manifest, [package])
    change, name, reason = HARMS[harm]
    change(package)
    place = f"{package.relative_to(tmp_path).as_posix()}/{name}"
    with pytest.raises(UserError, match=re.escape(f"bundle {tmp_path} is not run: {place} {reason}")):
        check_members(tmp_path, manifest, [package])


def test_index_search_serve_and_evaluate_refuse_a_changed_member(tmp_path: Path) -> None:
    from conaclip_edge.evaluation.encoders import open_encoder
    from conaclip_edge.search.commands import index_pictures, search_pictures
    from conaclip_edge.search.query import open_searcher

    folder, index = write_bundle(tmp_path / "bundle"), tmp_path / "index"
    pictures = write_pictures(tmp_path / "pictures", 3)
    index_pictures(folder, pictures, index)
    before = sha256_file(folder / TEXT)
    flip(folder / TEXT)
    line = altered(folder, TEXT, before)
    for run in (
        lambda: index_pictures(folder, pictures, index),
        lambda: search_pictures(index, "red", 1, None, None),
        lambda: open_searcher(index),  # as `serve` does
        lambda: open_encoder(folder),
    ):
        with pytest.raises(UserError, match=f"^{re.escape(line)}$"):
            run()


def test_a_benchmark_refuses_a_changed_member(tmp_path: Path) -> None:
    from conaclip_edge.benchmarks.commands import benchmark
    from conaclip_edge.config.benchmark import BenchmarkConfig
    from tests.helpers.benchmarks.small_towers import small_bundle

    folder = small_bundle(tmp_path / "bundle", {IMAGE: "onnx", TEXT: "onnx"})
    before = sha256_file(folder / TEXT)
    flip(folder / TEXT)
    with pytest.raises(UserError, match=f"^{re.escape(altered(folder, TEXT, before))}$"):
        benchmark(folder, BenchmarkConfig(), tmp_path / "report")
