"""A folder of pictures as people have it: what is tried again, followed, passed over, away, or moved."""

from __future__ import annotations

import json
import os
import shutil
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conaclip_edge.data.decoders import HEIC, available
from conaclip_edge.search.folder import picture_folder
from conaclip_edge.search.folder.picture_folder import walk
from conaclip_edge.search.index import open_index
from tests.helpers.command_line import Run
from tests.helpers.search.small_index import COLOURS, write_pictures


def indexed(cli: Run, *arguments: str | Path) -> dict[str, Any]:
    code, out, err = cli("index", *arguments, "--out", "index", "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def refusal(cli: Run, *arguments: str | Path) -> str:
    code, out, err = cli("index", *arguments, "--out", "index")
    assert (code, out) == (2, "")
    return err.splitlines()[-1]


def test_what_could_not_be_read_is_tried_again_when_nothing_of_the_file_changed(
    bundle: Path, tmp_path: Path, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = write_pictures(tmp_path / "pictures", 3)
    with monkeypatch.context() as patch:

        def refuse(path: Path) -> bytes:
            if path.name == "red-0.png":
                raise PermissionError(13, "Permission denied")
            return Path.read_bytes(path)

        patch.setattr(picture_folder, "file_bytes", refuse)
        first = indexed(cli, bundle, pictures)
    assert first["broken"] == [{"path": "red-0.png", "reason": "cannot be read (Permission denied)"}]
    second = indexed(cli, bundle, pictures)
    assert (second["encoded"], second["pictures"], second["broken"]) == (1, 3, [])


def test_a_decoder_that_comes_later_is_used(
    bundle: Path, tmp_path: Path, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pillow_heif import from_pillow

    pictures = write_pictures(tmp_path / "pictures", 1)
    from_pillow(Image.new("RGB", (64, 48), COLOURS["red"])).save(pictures / "a.heic")
    available.cache_clear()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, HEIC.module, None)
        first = indexed(cli, bundle, pictures)
    available.cache_clear()
    assert "pip install 'conaclip-edge[heic]'" in first["broken"][0]["reason"]
    assert indexed(cli, bundle, pictures)["encoded"] == 1


def test_a_limit_of_pixels_is_set_where_it_bites_and_kept(bundle: Path, tmp_path: Path, cli: Run) -> None:
    pictures = write_pictures(tmp_path / "pictures", 1)
    Image.new("RGB", (300, 200), "red").save(pictures / "large.png")
    first = indexed(cli, bundle, pictures, "--max-pixels", "50000")
    assert first["broken"][0]["path"] == "large.png"
    assert first["broken"][0]["reason"].endswith("more than max_pixels = 50000. Raise it: --max-pixels")
    assert indexed(cli, bundle, pictures)["encoded"] == 0
    assert open_index(tmp_path / "index").max_pixels == 50_000
    assert cli("search", "index", "--image", pictures / "large.png")[0] == 2
    assert indexed(cli, bundle, pictures, "--max-pixels", "60000")["encoded"] == 1
    assert cli("search", "index", "--image", pictures / "large.png")[0] == 0


def test_linked_folders_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 3)
    write_pictures(tmp_path / "elsewhere", 1)
    (pictures / "album").symlink_to(tmp_path / "elsewhere")
    (pictures / "sub" / "circle").symlink_to(pictures)
    (pictures / "a-link").symlink_to(pictures / "sub")
    found = walk(pictures)
    assert [file.path for file in found.files] == [
        "album/red-0.png",
        "red-0.png",
        "sub/deep/blue-2.png",
        "sub/green-1.png",
    ]
    assert found.passed_over == {"links to folders that are looked at already": 2}


def test_everything_that_is_passed_over_is_counted_and_named(bundle: Path, tmp_path: Path, cli: Run) -> None:
    pictures = write_pictures(tmp_path / "pictures", 2)
    for name in ("a.mov", "b.MOV", "README", ".hidden.png"):
        (pictures / name).write_text("no picture", "utf-8")
    (pictures / "raw.NEF").write_bytes(b"II*\0")
    found = indexed(cli, bundle, pictures)
    assert found["passed_over"] == {".mov": 2, "files without a suffix": 1, "hidden": 1}
    assert found["broken"] == [
        {
            "path": "raw.NEF",
            "reason": "is a camera's RAW picture (.NEF), which is not read without rawpy: pip install rawpy",
        }
    ]
    out = cli("index", bundle, pictures, "--out", "index")[1]
    assert "passed over: 2 .mov, 1 files without a suffix, 1 hidden" in out


def test_raw_pictures_are_developed_where_rawpy_is_installed(
    bundle: Path, tmp_path: Path, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Raw:
        def postprocess(self, **settings: bool) -> np.ndarray:
            assert settings == {"half_size": True, "use_camera_wb": True}
            return np.full((40, 60, 3), COLOURS["red"], np.uint8)

    @contextmanager
    def imread(file: Any) -> Iterator[Raw]:
        assert file.read() == b"raw bytes"
        yield Raw()

    stand_in = types.ModuleType("rawpy")
    stand_in.imread = imread  # type: ignore[attr-defined]
    stand_in.__spec__ = types.SimpleNamespace(name="rawpy")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "rawpy", stand_in)
    pictures = write_pictures(tmp_path / "pictures", 3)
    (pictures / "photo.CR2").write_bytes(b"raw bytes")
    assert indexed(cli, bundle, pictures)["encoded"] == 4
    found = json.loads(cli("search", "index", "--image", pictures / "photo.CR2", "-k", "1", "--json")[1])
    assert found["hits"][0]["path"].endswith("photo.CR2")


def test_a_folder_that_moved_is_pointed_to_and_nothing_is_encoded_again(bundle: Path, tmp_path: Path, cli: Run) -> None:
    pictures = write_pictures(tmp_path / "pictures", 6)
    indexed(cli, bundle, pictures)
    new = tmp_path / "moved"
    pictures.rename(new)
    line = refusal(cli, bundle, pictures)
    assert "The index keeps the 6 pictures that it has." in line
    assert "--moved-to NEW" in line
    assert refusal(cli, bundle, new).endswith(f"If that folder moved there: --moved-to {new}")
    (tmp_path / "other").mkdir()
    assert "holds none of the 6 pictures" in refusal(cli, bundle, pictures, "--moved-to", tmp_path / "other")
    found = indexed(cli, bundle, pictures, "--moved-to", new)
    assert (found["pictures"], found["encoded"], found["dropped"]) == (6, 0, 0)
    assert json.loads(cli("search", "index", "red", "--json")[1])["hits"][0]["path"].startswith(str(new))
    new.rename(pictures)
    assert indexed(cli, bundle, "--moved-to", pictures)["encoded"] == 0
    shutil.rmtree(tmp_path / "index")
    assert "nothing moved" in refusal(cli, bundle, pictures, "--moved-to", pictures)


@pytest.mark.parametrize("how", ["emptied", "link to nothing"])
def test_pictures_of_a_drive_that_is_not_there_are_kept_until_they_are_given_up(
    bundle: Path, tmp_path: Path, cli: Run, how: str
) -> None:
    pictures = write_pictures(tmp_path / "pictures", 1)
    write_pictures(tmp_path / "drive", 3)
    if how == "emptied":
        shutil.copytree(tmp_path / "drive", pictures / "drive")
    else:
        (pictures / "drive").symlink_to(tmp_path / "drive")
    assert indexed(cli, bundle, pictures)["pictures"] == 4
    if how == "emptied":
        shutil.rmtree(pictures / "drive")
        (pictures / "drive").mkdir()
    else:
        (tmp_path / "drive").rename(tmp_path / "away")
    found = indexed(cli, bundle, pictures)
    assert (found["pictures"], found["dropped"]) == (4, 0)
    assert found["broken"][0]["path"] == "drive/"
    assert "--drop-missing" in found["broken"][0]["reason"]
    assert indexed(cli, bundle, pictures, "--drop-missing")["dropped"] == 3


def test_a_path_in_json_opens_whatever_its_bytes(bundle: Path, tmp_path: Path, cli: Run) -> None:
    pictures = write_pictures(tmp_path / "pictures", 1)
    os.rename(os.fsencode(pictures / "red-0.png"), os.fsencode(pictures) + b"/caf\xe9 \xf0\x9f\x98\x80.png")
    indexed(cli, bundle, pictures)
    path = json.loads(cli("search", "index", "red", "--json")[1])["hits"][0]["path"]
    assert Image.open(path).size == (8, 8)
