"""Searching: queries as people write them, what they find, and a clear line for every wrong input."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conaclip_edge.errors import UserError
from conaclip_edge.search.folder import picture_folder as picture_files
from conaclip_edge.search.index import open_index
from conaclip_edge.search.query import Query, open_searcher, parse_query
from conaclip_edge.search.sqlite_store import FILE
from conaclip_edge.search.terminal import hits_table, hits_with_pictures, shows_pictures
from conaclip_edge.search.update import open_writer
from tests.helpers.command_line import Run
from tests.helpers.search.small_index import CONTEXT, DIM, OTHER, write_bundle, write_pictures


@pytest.fixture(scope="module")
def made(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures/ and index/ of them, the graph included; tests change neither."""
    home = tmp_path_factory.mktemp("searched")
    pictures = write_pictures(home / "pictures", 60)
    with open_writer(bundle, pictures, home / "index", waiting=20) as writer:
        writer.update()
    return home


@pytest.mark.parametrize(
    ("text", "words", "minus"),
    [
        ("red bicycle -car", "red bicycle", ("car",)),
        ('-car red  "tall house" -"traffic light"', "red tall house", ("car", "traffic light")),
        ("well-known t-shirt - a -- b", "well-known t-shirt - a -- b", ()),
        ('-"" -', "-", ()),
        ("-car", "", ("car",)),
        ("", "", ()),
    ],
)
def test_queries_are_read_as_web_searches(text: str, words: str, minus: tuple[str, ...]) -> None:
    assert parse_query(text) == Query(words, minus)


def test_words_pictures_and_minus_words_move_the_query(made: Path) -> None:
    searcher = open_searcher(made / "index")
    picture = (made / "pictures/sub/deep/blue-2.png").read_bytes()

    def colours(query: Query, k: int = 20) -> list[str]:
        return [hit.path.name.split("-")[0] for hit in searcher.search(query, k).hits]

    assert colours(Query("red")) == ["red"] * 20
    assert colours(Query(picture=picture)) == ["blue"] * 20
    assert searcher.search(Query(picture=picture), 1).hits[0].path.name == "blue-2.png"
    assert colours(Query("red green blue", minus=("blue", "red"))) == ["green"] * 20
    assert set(colours(Query("red", picture=picture), 40)) == {"red", "blue"}
    vectors = {name: searcher.encode(Query(name))[0] for name in ("red", "green")}
    both, _ = searcher.encode(Query("red", picture=picture, minus=("green",)))
    by_hand = vectors["red"] - vectors["green"] + searcher.encode(Query(picture=picture))[0]
    assert np.allclose(both, by_hand / np.linalg.norm(by_hand), atol=1e-6)


def test_a_search_says_how_long_it_took_and_what_it_did_not_read(made: Path) -> None:
    searcher = open_searcher(made / "index")
    long = searcher.search(Query("red " * 300), 3)
    assert long.notes == (f"the query is longer than the model reads: it stops after {CONTEXT} tokens.",)
    short = searcher.search(Query("red"), 3)
    assert short.notes == ()
    assert short.hits == long.hits
    assert short.encode_ms > 0
    assert short.search_ms > 0
    assert len(searcher.search(Query("red"), 500).hits) == 60


def test_the_command_gives_a_table_or_one_document(made: Path, cli: Run) -> None:
    code, out, err = cli("search", made / "index", "red", "-k", "3")
    assert code == 0, err
    rows = re.findall(r"^([123])  (\d\.\d{3})  (/.*/red-\d+\.png)$", out, re.M)
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert re.search(r"^query encoded in \d+\.\d ms, searched in \d+\.\d ms$", out, re.M)
    picture = made / "pictures/red-0.png"
    code, out, _ = cli("search", made / "index", "--image", picture, "-k", "2", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["hits"][0] == {"path": str(picture), "score": 1.0, "key": found["hits"][0]["key"]}
    code, out, _ = cli("search", made / "index", "wrod " * 300, "--json")
    assert (code, len(json.loads(out)["notes"])) == (0, 1)


def damaged(made: Path, where: Path, harm: Callable[[Path], object]) -> Path:
    shutil.copytree(made / "index", where)
    harm(where)
    return where


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_schema(index: Path) -> None:
    import sqlite3

    with sqlite3.connect(index / FILE) as connection:
        connection.execute("UPDATE meta SET value = 'conaclip-edge/index/9' WHERE name = 'schema'")


SEARCHES: dict[str, tuple[Callable[[Path, Path], list[str | Path]], str]] = {
    "no index": (
        lambda made, at: ["nowhere", "red"],
        r"no index at nowhere: it has no pictures\.sqlite\. Make one: conaclip-edge index BUNDLE PICTURES",
    ),
    "empty query": (
        lambda made, at: [made / "index", " "],
        r"empty query: nothing to search for\. Give some words, e\.g\. 'red bicycle', or a picture\.",
    ),
    "only minus words": (
        lambda made, at: [made / "index", "--", "-car"],
        r"only words to stay away from: nothing to search for\. Give some words, .*",
    ),
    "words that cancel": (
        lambda made, at: [made / "index", "red -red"],
        r"the words to stay away from cancel the query: nothing is left to search for\.",
    ),
    "NUL byte": (
        lambda made, at: [made / "index", "red\0 car"],
        r"the query holds a NUL byte, at character 4\. Leave it out\.",
    ),
    "missing picture": (
        lambda made, at: [made / "index", "--image", "none.png"],
        r"cannot read --image none\.png: No such file or directory\.",
    ),
    "broken picture": (
        lambda made, at: [made / "index", "--image", made / "index" / FILE],
        r"the query's picture cannot be decoded \(no picture format that Pillow knows\)\.",
    ),
    "bundle of another space": (
        lambda made, at: [made / "index", "red", "--bundle", write_bundle(at / "other", OTHER)],
        r"bundle /.*/other has embedding space cdcdcdcdcdcdcdcd, index /.*/index has abababababababab: their vectors "
        r"cannot be compared\. Use the index's own bundle, or index the pictures again into another --out\.",
    ),
    "no bundle": (
        lambda made, at: [made / "index", "red", "--bundle", "gone"],
        r"no bundle at gone, where the one of index /.*/index was\. Pass --bundle FOLDER\.",
    ),
    "cut sidecar": (
        lambda made, at: [damaged(made, at / "cut", lambda index: cut(index / FILE)), "red"],
        r"index /.*/cut is damaged \(pictures\.sqlite: .+\)\. Remove the folder and index the pictures again\.",
    ),
    "cut graph": (
        lambda made, at: [damaged(made, at / "cut", lambda index: cut(index / "graph-1.usearch")), "red"],
        r"graph file /.*/cut/graph-1\.usearch is damaged: it has \d+ bytes of \d+\. Make it again from the vectors "
        r"beside it: conaclip-edge index with the same BUNDLE, PICTURES and --out\.",
    ),
    "missing graph": (
        lambda made, at: [damaged(made, at / "cut", lambda index: (index / "graph-1.usearch").unlink()), "red"],
        r"index /.*/cut lacks its graph file graph-1\.usearch\. Make it again: conaclip-edge index with the same .*",
    ),
    "other file": (
        lambda made, at: [damaged(made, at / "cut", lambda index: (index / FILE).write_bytes(b"text" * 999)), "red"],
        r"index /.*/cut is damaged \(pictures\.sqlite: file is not a database\)\. Remove the folder .*",
    ),
    "other schema": (
        lambda made, at: [damaged(made, at / "cut", other_schema), "red"],
        r"index /.*/cut has schema 'conaclip-edge/index/9'; this version reads conaclip-edge/index/1\. .*",
    ),
}


@pytest.mark.parametrize("case", SEARCHES)
def test_a_wrong_search_ends_in_one_clear_line(made: Path, cli: Run, tmp_path: Path, case: str) -> None:
    arguments, line = SEARCHES[case]
    _told(cli("search", *arguments(made, tmp_path)), line)


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


INDEXINGS: dict[str, tuple[Callable[[Path, Path, Path], list[str | Path]], str]] = {
    "no bundle": (
        lambda bundle, made, at: ["gone", made / "pictures"],
        r"no bundle at gone\. Make one: conaclip-edge export --target all",
    ),
    "no folder": (
        lambda bundle, made, at: [bundle, at / "gone", "--out", "index"],
        r"no folder /.*/gone\. Give the folder that holds the pictures\.",
    ),
    "a file": (
        lambda bundle, made, at: [bundle, made / "pictures/red-0.png", "--out", "index"],
        r"/.*/red-0\.png is a file\. Give the folder that holds the pictures\.",
    ),
    "no pictures": (
        lambda bundle, made, at: [bundle, empty(at / "empty"), "--out", "index"],
        r"no picture in /.*/empty or the folders in it\. Give a folder with pictures\.",
    ),
    "unknown target": (
        lambda bundle, made, at: [bundle, made / "pictures", "--out", "index", "--target", "onxx"],
        r"unknown target 'onxx'\. Did you mean 'onnx'\? Known: coreai, coreml, executorch, onnx\.",
    ),
    "target that the bundle lacks": (
        lambda bundle, made, at: [bundle, made / "pictures", "--out", "index", "--target", "coreml"],
        r"bundle /.*/bundle has no int8 files for coreml; it has onnx\. Add them: .*",
    ),
    "unknown storage": (
        lambda bundle, made, at: [bundle, made / "pictures", "--out", "index", "--vectors", "i4"],
        r"unknown storage of vectors 'i4' in --vectors\. Did you mean 'i8'\? Known: f16, f32, i8\.",
    ),
    "a folder of something else": (
        lambda bundle, made, at: [bundle, made / "pictures", "--out", made / "pictures/sub/deep"],
        r"/.*/deep is no index: it holds blue-11\.png\. Choose another --out\.",
    ),
    "an index of another folder": (
        lambda bundle, made, at: [bundle, write_pictures(at / "mine", 1), "--out", made / "index"],
        r"index /.*/index is of the pictures in /.*/pictures, not in /.*/mine\. Choose another --out\.",
    ),
    "an index of another target": (
        lambda bundle, made, at: [bundle, made / "pictures", "--out", made / "index", "--target", "coreml"],
        r"index /.*/index was encoded by onnx, not by coreml\. Choose another --out\.",
    ),
    "an index of another space": (
        lambda bundle, made, at: [write_bundle(at / "other", OTHER), made / "pictures", "--out", made / "index"],
        r"bundle /.*/other has embedding space cdcdcdcdcdcdcdcd, index /.*/index has abababababababab: their .*",
    ),
}


@pytest.mark.parametrize("case", INDEXINGS)
def test_a_wrong_indexing_ends_in_one_clear_line(bundle: Path, made: Path, cli: Run, tmp_path: Path, case: str) -> None:
    arguments, line = INDEXINGS[case]
    _told(cli("index", *arguments(bundle, made, tmp_path)), line)


def test_an_unreadable_folder_is_named(bundle: Path, made: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(picture_files.os, "scandir", refuse)
    _told(
        cli("index", bundle, made / "pictures", "--out", "index"),
        r"cannot read folder /.*/pictures: Permission denied\. Look at its permissions\.",
    )


def test_a_folder_that_vanishes_in_the_middle_loses_no_indexed_picture(bundle: Path, cli: Run, tmp_path: Path) -> None:
    pictures, encoded = write_pictures(tmp_path / "pictures", 20), 0
    line = (
        r"^folder /.*/pictures vanished while it was read; the 8 pictures that are indexed are kept\. "
        r"Bring it back and run the same command again\.$"
    )
    with open_writer(bundle, pictures, tmp_path / "index", batch=4) as writer:

        def pull(data: bytes) -> np.ndarray:
            nonlocal encoded
            encoded += 1
            if encoded == 9:
                pictures.rename(tmp_path / "elsewhere")
            return writer.encode(data)

        with pytest.raises(UserError, match=line):
            replace(writer, encode=pull, workers=1).update()
    (tmp_path / "elsewhere").rename(pictures)
    code, out, _ = cli("index", bundle, pictures, "--out", "index", "--json")
    assert (code, json.loads(out)["encoded"], json.loads(out)["pictures"]) == (0, 12, 20)
    for path in list(pictures.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _told(
        cli("index", bundle, pictures, "--out", "index"),
        r"no picture in /.*/pictures or the folders in it\. The index keeps the 20 pictures that it has\. Give .*",
    )


def test_indexing_again_mends_a_cut_graph(bundle: Path, made: Path, tmp_path: Path) -> None:
    index = damaged(made, tmp_path / "index", lambda index: cut(index / "graph-1.usearch"))
    with open_writer(bundle, made / "pictures", index) as writer:
        assert writer.update().encoded == 0
    red = np.eye(DIM, dtype=np.float32)[0]
    assert open_index(index).search(red, 10) == open_index(made / "index").search(red, 10)


def test_a_vector_of_another_width_is_refused(made: Path) -> None:
    with pytest.raises(UserError, match=r"holds vectors of 16 numbers, not of \(3,\)"):
        open_index(made / "index").search(np.ones(3, np.float32), 1)


@pytest.mark.parametrize("protocol", ["kitty", "iterm2"])
def test_thumbnails_are_pngs_in_the_terminals_own_words(made: Path, tmp_path: Path, protocol: str) -> None:
    wide = tmp_path / "wide.png"
    noise = np.random.default_rng(0).integers(0, 256, (300, 600, 3)).astype(np.uint8)
    Image.fromarray(noise).save(wide)
    hits = [(str(wide), 0.5), (str(tmp_path / "gone\x1b[31m.png"), 0.25)]
    text = hits_with_pictures(hits, protocol)
    if protocol == "kitty":
        pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
        assert pieces[0][0] == "a=T,f=100,r=4,m=1"
        assert {head for head, _ in pieces[1:-1]} == {"m=1"}
        assert pieces[-1][0] == "m=0"
        assert max(len(data) for _, data in pieces) <= 4096
        data = "".join(data for _, data in pieces)
    else:
        ((size, data),) = re.findall(
            r"\x1b\]1337;File=inline=1;size=(\d+);height=4;preserveAspectRatio=1:([^\x07]*)\x07", text
        )
        assert int(size) == len(base64.b64decode(data))
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (256, 128)
    assert text.splitlines()[-1] == f"  2  0.250  {tmp_path}/gone\N{REPLACEMENT CHARACTER}[31m.png"
    assert "\x1b" not in hits_table(hits, False)


def test_only_terminals_that_say_so_get_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM", "TERM_PROGRAM", "KITTY_WINDOW_ID"):
        monkeypatch.delenv(name, raising=False)
    assert shows_pictures() is None
    monkeypatch.setenv("TERM_PROGRAM", "iTerm.app")
    assert shows_pictures() == "iterm2"
    monkeypatch.setenv("TERM", "xterm-kitty")
    assert shows_pictures() == "kitty"


def _told(outcome: tuple[int, str, str], line: str) -> None:
    code, out, err = outcome
    assert (code, out) == (2, ""), err
    assert "Traceback" not in err
    (found,) = [shown for shown in err.splitlines() if shown.startswith("conaclip-edge: ")]
    assert re.fullmatch(f"conaclip-edge: {line}", found), found
