"""Indexing a folder: what is encoded, reused, dropped, left out; what a search of the index finds."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conaclip_edge.errors import UserError
from conaclip_edge.search.hnsw_graph import PRECISIONS, stored
from conaclip_edge.search.index import open_index
from conaclip_edge.search.report import BrokenPicture, IndexReport
from conaclip_edge.search.update import WAITING, open_writer
from conaclip_edge.search.watch import keep_current
from tests.helpers.command_line import Run
from tests.helpers.search.small_index import COLOURS, DIM, OTHER, SIZE, nearest_by_hand, write_bundle, write_pictures


def indexed(bundle: Path, pictures: Path, out: Path, vectors: str | None = None, waiting: int = WAITING) -> IndexReport:
    with open_writer(bundle, pictures, out, vectors=vectors, waiting=waiting) as writer:
        return writer.update()


def names(index: Path) -> set[str]:
    opened = open_index(index)
    keys, _ = opened.vectors()
    paths = {opened.path(int(key)) for key in keys}
    opened.close()
    return {path.name for path in paths if path}


def directions(count: int) -> np.ndarray:
    vectors = np.random.default_rng(1).standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_only_what_is_new_is_encoded_and_what_is_gone_is_dropped(bundle: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 9)
    first = indexed(bundle, pictures, tmp_path / "index")
    assert (first.pictures, first.encoded, first.broken) == (9, 9, ())
    again = indexed(bundle, pictures, tmp_path / "index")
    assert [again.pictures, again.encoded, again.reused, again.dropped] == [9, 0, 0, 0]
    (pictures / "red-0.png").unlink()
    (pictures / "red-3.png").rename(pictures / "sub" / "moved.png")
    shutil.copy(pictures / "red-6.png", pictures / "sub" / "green-1.png")
    Image.new("RGB", (20, 9), "blue").save(pictures / "new.webp")
    os.utime(pictures / "sub" / "green-4.png", ns=(1, 1))
    changed = indexed(bundle, pictures, tmp_path / "index")
    assert [changed.pictures, changed.encoded, changed.reused, changed.dropped] == [9, 1, 3, 2]
    assert names(tmp_path / "index") == {path.name for path in pictures.rglob("*.*")}


def test_a_key_is_never_given_to_another_vector(bundle: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 3)
    indexed(bundle, pictures, tmp_path / "index")
    opened = open_index(tmp_path / "index")
    before = dict(zip(*map(list, (opened.vectors()[0], opened.vectors()[1].tolist())), strict=True))
    Image.new("RGB", (9, 9), "green").save(pictures / "red-0.png")
    (pictures / "sub/deep/blue-2.png").unlink()
    indexed(bundle, pictures, tmp_path / "index")
    keys, vectors = opened.vectors()
    assert all(before.get(key, vector) == vector for key, vector in zip(keys, vectors.tolist(), strict=True))
    assert set(keys.tolist()) - set(before) == {4}


def test_the_vector_of_a_picture_is_that_of_its_pixels(bundle: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 7)
    indexed(bundle, pictures, tmp_path / "index")
    opened = open_index(tmp_path / "index")
    keys, vectors = opened.vectors()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for key, vector in zip(keys, vectors, strict=True):
        path = opened.path(int(key))
        assert path is not None
        assert path.is_absolute()
        colours = np.asarray(Image.open(path)).reshape(-1, 3).mean(axis=0)
        assert np.corrcoef(vector[:3], colours)[0, 1] > 0.999
    assert opened.path(99) is None
    assert opened.path(-1) is None
    assert opened.path(2**70) is None


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_search_finds_what_comparing_with_everything_finds(bundle: Path, tmp_path: Path, precision: str) -> None:
    pictures = write_pictures(tmp_path / "pictures", 120)
    indexed(bundle, pictures, tmp_path / "index", precision, waiting=20)
    assert len(list((tmp_path / "index").glob("graph-*"))) == 1
    opened = open_index(tmp_path / "index")  # opened before: it has to see what comes
    for count in (0, 6, 60):
        if count:
            write_pictures(pictures, 120 + count, seed=count)  # changes all, adds some
            for path in sorted(pictures.rglob("*.png"))[::2]:
                path.unlink()
            indexed(bundle, pictures, tmp_path / "index", waiting=20)
        for query in directions(8):
            hits = opened.search(query, 10)
            assert [hit.key for hit in hits] == nearest_by_hand(tmp_path / "index", query, 10)
            assert all(hit.path.exists() for hit in hits)
            assert all(-1.001 < hit.score < 1.001 for hit in hits)


def test_removed_pictures_do_not_take_the_places_of_others(bundle: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 300)
    indexed(bundle, pictures, tmp_path / "index", waiting=20)
    opened = open_index(tmp_path / "index")
    query = opened.vectors()[1][0]
    near = [hit.path for hit in opened.search(query, 29)]
    for path in near[:28]:  # fewer than a tenth: the graph keeps them
        path.unlink()
    indexed(bundle, pictures, tmp_path / "index", waiting=20)
    assert (tmp_path / "index" / "graph-1.usearch").exists()
    assert [hit.key for hit in opened.search(query, 10)] == nearest_by_hand(tmp_path / "index", query, 10)
    assert opened.search(query, 1)[0].path == near[28]
    near[28].unlink()
    for path in sorted(pictures.rglob("*.png"))[:2]:
        path.unlink()
    indexed(bundle, pictures, tmp_path / "index", waiting=20)  # above a tenth: a new one without them
    assert [path.name for path in (tmp_path / "index").glob("graph-*")] == ["graph-2.usearch"]
    assert [hit.key for hit in opened.search(query, 10)] == nearest_by_hand(tmp_path / "index", query, 10)


def test_i8_uses_the_whole_range_of_every_vector() -> None:
    vectors = directions(50)
    kept = stored(vectors, "i8").astype(np.float32)
    assert (np.abs(kept).max(axis=1) == 127).all()
    cosines = (kept * vectors).sum(axis=1) / np.linalg.norm(kept, axis=1)
    assert cosines.min() > 0.99995
    assert stored(np.zeros((1, 4), np.float32), "i8").tolist() == [[0, 0, 0, 0]]


def test_broken_pictures_are_named_and_tried_again_when_they_change(bundle: Path, tmp_path: Path, cli: Run) -> None:
    pictures = write_pictures(tmp_path / "pictures", 4)
    (pictures / "cut.png").write_bytes((pictures / "red-0.png").read_bytes()[:60])
    (pictures / "text.JPG").write_text("no picture", "utf-8")
    (pictures / ".hidden.png").write_text("not looked at", "utf-8")
    (pictures / "notes.txt").write_text("not a picture's name", "utf-8")
    (pictures / "link.png").symlink_to("nowhere.png")
    code, out, err = cli("index", bundle, pictures, "--out", "index")
    assert code == 0, err
    assert out.startswith("index in index: 4 pictures (4 encoded) in ")
    assert "2 left out:\n  cut.png: cannot be decoded" in out
    assert "  text.JPG: cannot be decoded (no picture format that Pillow knows)" in out
    code, out, _ = cli("index", bundle, pictures, "--out", "index", "--json")
    shown = json.loads(out)
    assert [one["path"] for one in shown["broken"]] == ["cut.png", "text.JPG"]
    assert shown["encoded"] == 0
    shutil.copy(pictures / "red-3.png", pictures / "cut.png")
    (pictures / "red-3.png").write_bytes(b"broken now")
    found = indexed(bundle, pictures, tmp_path / "index")
    assert [one.path for one in found.broken] == ["red-3.png", "text.JPG"]
    assert names(tmp_path / "index") == {"red-0.png", "cut.png", "green-1.png", "blue-2.png"}


def test_phones_formats_are_read(bundle: Path, tmp_path: Path) -> None:
    from pillow_heif import from_pillow

    (tmp_path / "pictures").mkdir()
    red = Image.new("RGB", (64, 48), COLOURS["red"])
    from_pillow(red).save(tmp_path / "pictures/a.HEIC")
    red.save(tmp_path / "pictures/b.avif")
    found = indexed(bundle, tmp_path / "pictures", tmp_path / "index")
    assert (found.encoded, found.broken) == (2, ())
    _, vectors = open_index(tmp_path / "index").vectors()
    assert (vectors[:, 0] > 0.85).all()


def test_a_folder_that_cannot_be_looked_into_keeps_its_pictures(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = write_pictures(tmp_path / "pictures", 6)
    indexed(bundle, pictures, tmp_path / "index")
    listed = os.scandir

    def refuse(folder: Path) -> Any:
        if Path(folder).name == "deep":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = indexed(bundle, pictures, tmp_path / "index")
    assert found.broken == (BrokenPicture(path="sub/deep/", reason="Permission denied"),)
    assert (found.dropped, found.pictures) == (0, 6)


def test_a_file_name_that_is_no_utf_8_is_kept(bundle: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 1)
    odd = os.fsdecode(b"caf\xe9.png")
    shutil.copy(pictures / "red-0.png", pictures / odd)
    indexed(bundle, pictures, tmp_path / "index")
    assert names(tmp_path / "index") == {"red-0.png", odd}


def test_a_second_writer_is_refused_and_a_reader_is_not(bundle: Path, tmp_path: Path, cli: Run) -> None:
    pictures = write_pictures(tmp_path / "pictures", 2)
    with open_writer(bundle, pictures, tmp_path / "index") as writer:
        writer.update()
        code, out, err = cli("index", bundle, pictures, "--out", "index")
        assert (code, out) == (2, "")
        assert err.splitlines()[-1] == (
            "conaclip-edge: index index is being written by another process. "
            "Wait until it ends, or choose another --out."
        )
        assert len(open_index(tmp_path / "index").search(directions(1)[0], 10)) == 2
    assert cli("index", bundle, pictures, "--out", "index")[0] == 0


def test_another_storage_builds_a_new_graph_and_encodes_nothing(bundle: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 60)
    indexed(bundle, pictures, tmp_path / "index", waiting=20)
    small = (tmp_path / "index/graph-1.usearch").stat().st_size
    assert indexed(bundle, pictures, tmp_path / "index", "f32", waiting=20).encoded == 0
    large = (tmp_path / "index/graph-2.usearch").stat().st_size
    assert large - small == 60 * DIM * 3
    assert indexed(bundle, pictures, tmp_path / "index", waiting=20).encoded == 0
    assert open_index(tmp_path / "index").precision == "f32"


def test_a_watched_index_follows_its_folder(bundle: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 3)
    stop, found = threading.Event(), []
    with open_writer(bundle, pictures, tmp_path / "index") as writer:
        first = writer.update()
        watching = threading.Thread(target=lambda: found.append(keep_current(writer, first, stop)))
        watching.start()
        opened = open_index(tmp_path / "index")
        try:
            Image.new("RGB", (SIZE, SIZE), "red").save(pictures / "sub" / "late.png")
            _until(lambda: len(opened) == 4)
            assert opened.search(np.eye(DIM, dtype=np.float32)[0], 1)[0].path.name == "late.png"
            (pictures / "red-0.png").unlink()
            _until(lambda: len(opened) == 3)
        finally:
            stop.set()
            watching.join(60)
    assert found[0].pictures == 3


def _until(true: Any) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    pytest.fail("the index did not follow")


def test_a_bundle_of_another_space_is_refused_and_both_are_named(bundle: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 2)
    indexed(bundle, pictures, tmp_path / "index")
    other = write_bundle(tmp_path / "other", OTHER)
    with pytest.raises(
        UserError, match=r"other has embedding space cdcdcdcdcdcdcdcd, index .*index has abababababababab"
    ):
        indexed(other, pictures, tmp_path / "index")
    moved = write_bundle(tmp_path / "moved")
    assert indexed(moved, pictures, tmp_path / "index").encoded == 0
    assert open_index(tmp_path / "index").bundle == moved
