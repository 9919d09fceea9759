"""Every path that a command takes, given everything that it is not: a line that names it, never an internal error."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import conaclip_edge
from conaclip_edge.errors import UserError
from tests.cli.test_errors import error_line
from tests.helpers.command_line import Run
from tests.helpers.search.search_world import SearchWorld

COMMANDS = {
    "distill recipe": "distill @ --out out",
    "distill teacher": "distill recipe.yaml --out out --set teacher=./@",
    "distill data": "distill recipe.yaml --out out --set data.path=@",
    "train-teacher recipe": "train-teacher @ --out out",
    "convert": "convert @ --out out",
    "cache": "cache @",
    "compare": "compare @ --out out",
    "study": "study @ --out out",
    "export": "export @ --target onnx --out out",
    "verify": "verify @",
    "sign": "sign @ --key key",
    "evaluate": "evaluate @",
    "benchmark": "benchmark @ --out out",
    "benchmark suite": "benchmark --suite @",
    "report": "report @",
    "index": "index @ pictures --out out",
    "search": "search @ red",
    "serve": "serve @ --port 0",
    "web": "web @ index --out out",
    "init": "init @ --teacher laion/any",
    "info": "info @",
}
OUTS = {
    "distill": "distill recipe.yaml --out @",
    "convert": "convert easynlp --out @",
    "compare": "compare recipe.yaml --graphs infonce --out @",
    "study": "study recipe.yaml --out @",
}


def write(at: Path, kind: str, bundle: Path) -> Path:
    """Make something that is no product of any command (but the bundle, which is one)."""
    place = at / "given"
    if kind == "an empty file":
        place.touch()
    elif kind == "a binary file":
        place.write_bytes(bytes(range(256)) * 9)
    elif kind == "an empty folder":
        place.mkdir()
    elif kind == "a dangling link":
        place.symlink_to("nowhere-at-all")
    elif kind == "a link to itself":
        place.symlink_to("given")
    elif kind == "a pipe":
        os.mkfifo(place)
    elif kind == "a model of OpenCLIP":
        place.mkdir()
        (place / "open_clip_config.json").write_text("{}", "utf-8")
    elif kind == "JSON of nothing":
        place.mkdir()
        for name in ("config.json", "manifest.json", "report.json"):
            (place / name).write_text("null", "utf-8")
    elif kind == "below a file":
        place.touch()
        return place / "below"
    return place


KINDS = (
    *("nothing", "an empty file", "a binary file", "an empty folder", "a dangling link", "a link to itself", "a pipe"),
    *("a model of OpenCLIP", "JSON of nothing", "below a file"),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_not_what_a_command_reads_is_said_in_a_line(
    run: Run, recipe: Callable[..., Path], searched: SearchWorld, tmp_path: Path, command: str, kind: str
) -> None:
    recipe()
    given = write(tmp_path, kind, searched.bundle)
    outcome = run(*COMMANDS[command].replace("@", str(given.relative_to(tmp_path))).split())
    if (command, kind) == ("verify", "JSON of nothing"):
        assert outcome[0] == 1  # a bundle that is damaged
        return
    assert error_line(outcome)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        *itertools.product(OUTS, ("an empty file", "a dangling link", "a pipe", "below a file")),
        *itertools.product(("distill", "convert"), ("a model of OpenCLIP", "JSON of nothing")),
    ],
)
def test_what_a_command_would_replace_is_left_alone(
    run: Run, recipe: Callable[..., Path], searched: SearchWorld, tmp_path: Path, command: str, kind: str
) -> None:
    recipe()
    given = write(tmp_path, kind, searched.bundle)
    before = os.lstat(tmp_path / "given")
    line = error_line(run(*OUTS[command].replace("@", str(given.relative_to(tmp_path))).split()))
    assert "given" in line
    assert os.lstat(tmp_path / "given") == before


def test_python_takes_texts_as_paths_and_says_what_it_cannot_take(searched: SearchWorld, tmp_path: Path) -> None:
    assert conaclip_edge.verify(str(searched.bundle)).ok
    for call in (
        lambda: conaclip_edge.verify(None),  # type: ignore[arg-type]
        lambda: conaclip_edge.verify(7),  # type: ignore[arg-type]
        lambda: conaclip_edge.verify(""),
        lambda: conaclip_edge.verify(searched.bundle, trusted="key.pub"),
        lambda: conaclip_edge.verify(searched.bundle / "manifest.json"),
        lambda: conaclip_edge.open_bundle(None),  # type: ignore[arg-type]
        lambda: conaclip_edge.evaluate([]),  # type: ignore[arg-type]
        lambda: conaclip_edge.index(searched.bundle, None),  # type: ignore[arg-type]
        lambda: conaclip_edge.open_index(3),  # type: ignore[arg-type]
        lambda: conaclip_edge.distill_student(settings="train.steps=1"),
        lambda: conaclip_edge.distill_student(settings=None),  # type: ignore[arg-type]
        lambda: conaclip_edge.train_teacher(tmp_path),
        lambda: conaclip_edge.export_bundle(b"student"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UserError):
            call()
