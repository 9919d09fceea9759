"""Layouts by the command line: what is written, what is refused, and what is said of a client's preprocessing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conaclip_edge.layouts.table import LAYOUTS
from tests.helpers.command_line import Run
from tests.helpers.search.search_world import SearchWorld


def test_the_command_writes_the_folder_and_says_what_it_found(run: Run, searched: SearchWorld) -> None:
    code, out, err = run("layout", searched.bundle, "--as", "transformers-js", "--out", "made", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report == json.loads(Path("made/layout.json").read_text("utf-8"))
    assert set(report["files"]) == {
        path.relative_to("made").as_posix()
        for path in Path("made").rglob("*")
        if path.is_file() and path.name != "layout.json"
    }
    assert report["texts"]["ids_equal"] == report["texts"]["texts"]
    assert report["exact"] > 0.9999
    assert report["pictures"]["pictures"] == 22


def test_an_unknown_layout_is_refused_before_an_export(run: Run) -> None:
    code, _, err = run("export", "nowhere", "--layout", "transformer-js")
    assert code == 2
    assert "unknown layout 'transformer-js'. Did you mean 'transformers-js'?" in err


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_that_is_no_layout_is_left_alone(run: Run, searched: SearchWorld, name: str) -> None:
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("to keep", "utf-8")
    code, _, err = run("layout", searched.bundle, "--as", name, "--out", "mine")
    assert code == 2
    assert "--out mine is there and is not a layout: it holds letter.txt" in err
    assert Path("mine/letter.txt").read_text("utf-8") == "to keep"


def test_a_changed_file_is_not_laid_out(run: Run, searched: SearchWorld) -> None:
    shutil.copytree(searched.bundle, "changed")
    with Path("changed/onnx/text.int8.onnx").open("ab") as file:
        file.write(b"more")
    code, _, err = run("layout", "changed", "--as", "transformers-js")
    assert code == 2
    assert "onnx/text.int8.onnx has sha256" in err
    assert not Path("changed-transformers-js").exists()


@pytest.mark.parametrize(("name", "target"), [("transformers-js", "onnx"), ("react-native-executorch", "executorch")])
def test_a_bundle_without_int8_files_says_what_to_export(
    run: Run, searched: SearchWorld, name: str, target: str
) -> None:
    shutil.copytree(searched.bundle, "without", ignore=shutil.ignore_patterns("image.int8.onnx"))
    code, _, err = run("layout", "without", "--as", name, "--out", "made")
    assert code == 2
    assert f"has no int8 files for {target}, of which this layout is made" in err
