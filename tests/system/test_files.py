"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from conaclip_edge.errors import UserError, unknown
from conaclip_edge.system.files import (
    atomic_file,
    atomic_folder,
    deflated_bytes,
    read_json,
    sha256_file,
    sha256_text,
    write_json,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_file_leaves_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old", "utf-8")
    with pytest.raises(error), atomic_file(path) as temporary:  # noqa: PT012  # the block is what fails
        temporary.write_text("half", "utf-8")
        raise error
    assert path.read_text("utf-8") == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_folder_leaves_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(error), atomic_folder(path) as temporary:  # noqa: PT012  # the block is what fails
        (temporary / "half").touch()
        raise error
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_a_finished_file_and_folder_replace_the_old_ones_as_a_whole(tmp_path: Path) -> None:
    for _ in range(2):
        with atomic_file(tmp_path / "new" / "file") as temporary:
            temporary.write_text("content", "utf-8")
    assert (tmp_path / "new" / "file").read_text("utf-8") == "content"
    for name in ("one", "two"):
        with atomic_folder(tmp_path / "folder") as target:
            (target / name).touch()
            if name == "two":
                assert names(tmp_path / "folder") == ["one"]
    assert names(tmp_path / "folder") == ["two"]
    assert names(tmp_path) == ["folder", "new"]


def test_what_a_library_writes_on_the_way_lies_in_no_folder_of_ours(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as temporary:
        (temporary.parent / ".tmpAb12Cd").touch()  # as safetensors names what it renames at the end
        assert len(names(tmp_path)) == 1
        temporary.touch()
    assert names(tmp_path) == ["file"]


def test_files_of_safetensors_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "file") as temporary:
            save_file({"a": np.zeros(3)}, temporary)
        with atomic_folder(tmp_path / "folder") as target:
            save_file({"a": np.zeros(3)}, target / "file")
    finally:
        os.umask(before)
    for file in (tmp_path / "file", tmp_path / "folder" / "file"):
        assert file.stat().st_mode & 0o777 == 0o640


def test_what_the_system_refuses_is_named_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(UserError, match=r"^cannot write .*/file: Is a directory\. Free some space or choose another"):
        write_json(tmp_path / "file", {})
    assert names(tmp_path) == ["file"]


def test_json_comes_back_and_what_is_none_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": ["猫", 1.5, None]})
    assert read_json(tmp_path / "a.json", "thing") == {"b": ["猫", 1.5, None]}
    with pytest.raises(UserError, match=r"^no thing at .*none\.json\.$"):
        read_json(tmp_path / "none.json", "thing")
    for content in (b"{", b"\xff", b"[" * 100_000):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(UserError, match=r"^cannot read thing .*bad\.json: "):
            read_json(tmp_path / "bad.json", "thing")


def test_hashes_tell_lists_of_texts_apart(tmp_path: Path) -> None:
    lists = [("ab", "c"), ("a", "bc"), ("abc",), ("ab", "c", ""), ("", "ab", "c"), ()]
    assert len({sha256_text(*parts) for parts in lists}) == len(lists)
    assert sha256_text("\ud800") != sha256_text("?")  # half a surrogate pair, as file names may hold
    (tmp_path / "empty").touch()
    assert sha256_file(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_an_unknown_name_comes_with_the_nearest_and_all_known() -> None:
    error = unknown("fruit", "aple", ["pear", "apple"], where="the bowl")
    assert str(error) == "unknown fruit 'aple' in the bowl. Did you mean 'apple'? Known: apple, pear."
    assert str(unknown("fruit", "xyz", ["pear"])) == "unknown fruit 'xyz'. Known: pear."


@pytest.mark.parametrize("writer", [atomic_file, atomic_folder])
def test_a_parent_that_cannot_be_made_is_named_with_the_path(tmp_path: Path, writer: Any) -> None:
    (tmp_path / "file").touch()
    where = writer(tmp_path / "file" / "run" / "out")
    with pytest.raises(UserError, match=r"^cannot write .*/file/run/out: Not a directory\. Free some space"), where:
        pytest.fail("the block must not begin")
    assert names(tmp_path) == ["file"]


def test_bytes_as_a_store_delivers_them_are_those_of_a_zip_archive_at_level_nine(tmp_path: Path) -> None:
    folder = tmp_path / "image.mlpackage"
    (folder / "Data").mkdir(parents=True)
    (folder / "Data" / "weights.bin").write_bytes(bytes(range(256)) * 9000)
    (folder / "Manifest.json").write_text('{"a": 1}' * 50, "utf-8")
    archive = tmp_path / "app.zip"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for path in files:
            made.write(path, path.name)
        sizes = {info.filename: info.compress_size for info in made.infolist()}
    assert deflated_bytes(folder) == sum(sizes.values())
    assert deflated_bytes(files[0]) == sizes[files[0].name]
