from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.errors import UserError
from conaclip_edge.search.commands import index_pictures
from conaclip_edge.search.words.spelling import whole_words
from conaclip_edge.system.files import sha256_file
from conaclip_edge.web.measure import chromium
from conaclip_edge.web.page import PAGE, page_file
from conaclip_edge.web.site.build import ENGINE, build_site
from conaclip_edge.web.site.int8_vectors import best, quantise
from tests.helpers.command_line import command
from tests.helpers.search.small_index import SPACE, write_bundle, write_pictures


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (5, 7), elements=st.floats(-1, 1, width=32)))
@example(np.full((5, 7), 1e-45, np.float32))  # its scale is below float32's smallest
def test_int8_rows_are_within_half_a_step(vectors):
    values, scales = quantise(vectors)
    assert values.dtype == np.int8
    assert (np.abs(values) <= 127).all()
    assert (np.abs(values * scales[:, None] - vectors) <= scales[:, None] * 0.5001).all()


def test_the_best_rows_are_those_of_exact_search_where_they_stand_apart():
    vectors = np.eye(6, dtype=np.float32) + 0.1
    values, scales = quantise(vectors)
    assert [row for row, _ in best(values, scales, vectors[4] + 0.5 * vectors[2], 2)] == [4, 2]
    assert best(values, scales, vectors[4], 6)[1:] == sorted(
        best(values, scales, vectors[4], 6)[1:], key=lambda r: r[0]
    )
    assert best(values[:0], scales[:0], vectors[4], 3) == []


@pytest.mark.parametrize(
    "model",
    [
        {"type": "WordPiece", "vocab": {"[PAD]": 0, "##ing": 1, "cat": 3, "Dog": 2, "x": 4, "3rd": 5}},
        {
            "type": "BPE",
            "vocab": {"do": 0, "dog</w>": 1, "cat</w>": 2, "in</w>": 3, "##": 4},
            "end_of_word_suffix": "</w>",
        },
        {"type": "BPE", "vocab": {"do": 0, "\u0120dog": 1, "\u0120cat": 2}},
        {"type": "Unigram", "vocab": [["<pad>", 0.0], ["\u2581dog", -1.0], ["\u2581cat", -2.0], ["ing", -3.0]]},
    ],
)
def test_whole_words_are_those_that_no_piece_is_missing_of(model):
    assert whole_words({"model": model}) == ["dog", "cat"]


def test_the_site_holds_what_the_page_asks_for_and_nothing_of_the_users_folders(site, searched):
    about = json.loads((site / "site.json").read_text("utf-8"))
    count = len(about["pictures"])
    assert count == 352
    assert sorted(about["pictures"])[0] == "test-0.png"
    assert len(list((site / "thumbs").iterdir())) == count
    assert (site / "index" / "vectors.i8").stat().st_size == count * about["dim"]
    assert (site / "index" / "scales.f32").stat().st_size == count * 4
    written = [path for path in site.rglob("*") if path.suffix in (".json", ".html", ".js", "")]
    assert not any(str(searched.pictures.parent).encode() in path.read_bytes() for path in written if path.is_file())
    assert {path.name for path in site.iterdir() if path.is_file()} == {
        *(*PAGE, *ENGINE, "site.json", "_headers", "licences.txt")
    }


@pytest.mark.parametrize("name", ["index.html", "check.html"])
def test_pages_load_nothing_from_elsewhere_and_hold_no_script_of_their_own(name):
    text = (page_file(name) if name in PAGE else (files("conaclip_edge.web") / "model" / name).read_bytes()).decode()
    assert "default-src 'none'" in text
    assert not re.search(r"https?://", text)
    found: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))  # type: ignore[method-assign]
    parser.feed(text)
    assert not [one for one in found if any(key.startswith("on") or key == "style" for key in one[1])]
    assert [one["src"] for tag, one in found if tag == "script"] != [None]


@pytest.fixture
def broken(searched, tmp_path):
    """A copy of the bundle that a test may spoil."""
    shutil.copytree(searched.bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_bundle_without_onnx_files_is_refused(broken, searched, tmp_path):
    shutil.rmtree(broken / "onnx")
    with pytest.raises(UserError, match=r"has no int8 files for ONNX.*export --target onnx"):
        build_site(broken, searched.index, tmp_path / "site")


def test_an_index_of_another_embedding_space_is_refused_naming_both(searched, tmp_path):
    other = write_bundle(tmp_path / "other")
    index_pictures(other, write_pictures(tmp_path / "pictures", 1), tmp_path / "index")
    own = read_manifest(searched.bundle).embedding_space[:16]
    with pytest.raises(UserError, match=f"embedding space {own}, index .* has {SPACE[:16]}"):
        build_site(searched.bundle, tmp_path / "index", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_tokenizer_that_the_page_does_not_know_is_refused(broken, searched, tmp_path):
    tokenizer = json.loads((broken / "tokenizer.json").read_text("utf-8"))
    tokenizer["model"]["type"] = "WordLevel"
    (broken / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    with pytest.raises(UserError, match=r"tokenizer of kind WordLevel.*Known: WordPiece, BPE, Unigram"):
        build_site(broken, searched.index, tmp_path / "site")


def test_a_changed_member_does_not_get_into_a_site(broken, searched, tmp_path):
    text = broken / "onnx" / "text.int8.onnx"
    before = read_manifest(broken).members["onnx/text.int8.onnx"].sha256
    text.write_bytes(text.read_bytes() + b"x")
    line = (
        f"bundle {broken} is not run: onnx/text.int8.onnx has sha256 {sha256_file(text)[:12]}.., the manifest says "
        f"{before[:12]}... Look at all of it: conaclip-edge verify {broken}"
    )
    with pytest.raises(UserError, match=f"^{re.escape(line)}$"):
        build_site(broken, searched.index, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_site_never_replaces_bundle_or_index(broken, searched):
    for out in (broken, broken.parent, searched.index):
        with pytest.raises(UserError, match=r"would replace the bundle or the index"):
            build_site(broken, searched.index, out)
    assert (broken / "manifest.json").is_file()


def test_a_file_name_that_is_no_utf_8_gets_a_replacement_character(searched, tmp_path):
    (tmp_path / "pictures").mkdir()
    shutil.copy(searched.pictures / "test-0.png", tmp_path / "pictures" / os.fsdecode(b"caf\xe9.png"))
    index_pictures(searched.bundle, tmp_path / "pictures", tmp_path / "index")
    report = build_site(searched.bundle, tmp_path / "index", tmp_path / "site")
    about = json.loads((tmp_path / "site" / "site.json").read_text("utf-8"))
    assert (report.pictures, about["pictures"]) == (1, ["caf\N{REPLACEMENT CHARACTER}.png"])


def test_the_command_names_what_it_left_out(broken, searched, tmp_path, monkeypatch, capfd):
    (tmp_path / "pictures").mkdir()
    for name in ("test-6.png", "test-7.png"):
        shutil.copy(searched.pictures / name, tmp_path / "pictures")
    index_pictures(searched.bundle, tmp_path / "pictures", tmp_path / "index")
    (tmp_path / "pictures" / "test-7.png").unlink()
    code, out, _ = command(monkeypatch, capfd, "web", broken, tmp_path / "index", "--out", tmp_path / "site")
    assert code == 0
    assert "1 picture" in out
    assert "left out: test-7.png: cannot be read (No such file or directory)" in out
    code, _, error = command(monkeypatch, capfd, "web", broken, tmp_path / "none", "--out", tmp_path / "site")
    assert code == 2
    assert error.startswith("conaclip-edge: no index at")


def test_without_chromium_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"sudo apt-get install chromium"):
        chromium.page_report(tmp_path, "check.html")


def test_a_browser_that_says_nothing_is_given_up(tmp_path, monkeypatch):
    (tmp_path / "chromium").write_text("#!/bin/sh\nexit 3\n", "utf-8")
    (tmp_path / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(UserError, match=r"gave no answer for check\.html"):
        chromium.page_report(tmp_path, "check.html", seconds=5)


def test_the_browser_s_folder_goes_though_a_helper_still_writes_there():
    with chromium.profile_folder() as folder:
        program = f"mkdir {folder}/Default; for i in $(seq 3000); do echo x > {folder}/Default/$i; done"
        helper = subprocess.Popen(["sh", "-c", program], stderr=subprocess.DEVNULL)
        while not (folder / "Default/1").exists():
            time.sleep(0.001)
    helper.wait()
    assert not folder.exists()
