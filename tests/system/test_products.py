"""What may be replaced by --out, and what is refused before any work."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from conaclip_edge.bundle.members import check_bundle_out
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import atomic_file, atomic_folder
from conaclip_edge.system.products import INDEX, REPORT, SITE, STUDENT, TEACHER, check_folder, check_out

JOINED = ("config.json", "model.safetensors", "text.json", "tokenizer.json", "training.json")
CHECKPOINT = ("config.json", "model.safetensors", "preprocess.json", "tokenizer.json", "training.json", "curves.svg")


def folder(place: Path, *names: str) -> Path:
    place.mkdir()
    for name in names:
        (place / name).write_text("{}", "utf-8")
    return place


@pytest.mark.parametrize(
    ("product", "names"),
    [
        (STUDENT, (*CHECKPOINT, "training.jsonl")),
        (STUDENT, ()),
        (TEACHER, JOINED),
        (TEACHER, ("config.json", "model.safetensors", "tokenizer_config.json", "converted.json")),
        (REPORT, ("report.json", "report.md", "report.html")),
        (SITE, ("site.json", "index.html", "app.js", "_headers")),
        (INDEX, ("pictures.sqlite", "graph-3.usearch", "writer.lock")),
    ],
)
def test_a_product_may_be_replaced_by_one_of_its_kind(tmp_path: Path, product: object, names: tuple[str, ...]) -> None:
    check_out(folder(tmp_path / "out", *names), product)  # type: ignore[arg-type]
    check_out(tmp_path / "new" / "deep", product)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("thesis.docx",), r"out is there and is not a student: it holds thesis\.docx, which would be deleted\. Move"),
        ((*CHECKPOINT, "notes.txt"), r"out also holds notes\.txt, which is no part of a student and would be deleted"),
        (JOINED, r"out also holds text\.json, which is no part of a student"),
        (("a", "b", "c", "d"), r"it holds a, b, c and 1 more, which"),
    ],
)
def test_anything_else_is_left_alone_and_named(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    out = folder(tmp_path / "out", *names)
    with pytest.raises(UserError, match=message):
        check_out(out, STUDENT)
    with pytest.raises(UserError, match=message), atomic_folder(out, STUDENT):
        pytest.fail("the work began")
    assert sorted(os.listdir(out)) == sorted(names)
    assert os.listdir(tmp_path) == ["out"]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", "utf-8")
    os.symlink("nowhere", tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in {
        "file": "is there and is no folder",
        "pipe": "is there and is no folder",
        "link": "is a link that leads nowhere",
        "file/below": "is no folder|Not a directory",
        "x" * 300: "more than 180 bytes",
        "..": "names no folder of its own",
    }.items():
        with pytest.raises(UserError, match=reason):
            check_out(tmp_path / name, REPORT)
        if name != "link":
            with pytest.raises(UserError, match=f"{reason}|names no folder"):
                check_folder(tmp_path / name)
    with pytest.raises(UserError, match=r"--out \. names no folder of its own"):
        check_out(Path("."), REPORT)


def test_a_pipe_or_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"pipe: it is no plain file"), atomic_file(tmp_path / "pipe"):
        pytest.fail("the work began")
    assert (tmp_path / "pipe").is_fifo()


def test_a_bundle_is_replaced_only_if_it_lists_all_that_it_holds(tmp_path: Path) -> None:
    bundle = folder(tmp_path / "bundle", "README.md")
    (bundle / "manifest.json").write_text(json.dumps({"members": {"README.md": {}}}), "utf-8")
    check_bundle_out(bundle)
    (bundle / "licence-of-mine.txt").touch()
    with pytest.raises(UserError, match=r"also holds licence-of-mine\.txt, which it does not list"):
        check_bundle_out(bundle)
