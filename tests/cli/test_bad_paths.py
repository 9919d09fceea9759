"""Every path that a command takes, given everything that it is not: a line that names it, never an internal error."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

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
    elif kind == "a long name":
        return at / ("given" * 60)
    elif kind == "a folder with a link to itself":
        place.mkdir()
        (place / "loop").symlink_to("loop")
    elif kind == "a pipeline of diffusers":
        place.mkdir()
        (place / "model_index.json").write_text("{}", "utf-8")
    elif kind == "a text model":
        place.mkdir()
        (place / "config.json").write_text('{"model_type": "bert", "hidden_size": 32}', "utf-8")
        (place / "vocab.txt").write_text("[PAD]\n[UNK]\n", "utf-8")
    return place


def state_of(path: Path) -> tuple[int, ...]:
    """What a change of a path would change; looking at it may change the time of the last access."""
    found = os.lstat(path)
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_nlink


KINDS = (
    *("nothing", "an empty file", "a binary file", "an empty folder", "a dangling link", "a link to itself", "a pipe"),
    *("a model of OpenCLIP", "JSON of nothing", "below a file", "a long name", "a folder with a link to itself"),
    *("a pipeline of diffusers", "a text model"),
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
    if (command, kind) == ("info", "a text model"):
        assert outcome[0] == 0  # described, as what cannot be used
        assert "no safetensors weights" in outcome[1]
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
    before = state_of(tmp_path / "given")
    line = error_line(run(*OUTS[command].replace("@", str(given.relative_to(tmp_path))).split()))
    assert "given" in line
    assert state_of(tmp_path / "given") == before


def copy(source: Path, at: Path) -> Path:
    return Path(shutil.copytree(source, at / "changed"))


def edited(source: Path, at: Path, file: str, **values: Any) -> Path:
    """A copy of a folder in whose JSON file keys have other values; `vision_config__hidden_size` is one in a group."""
    folder = copy(source, at)
    content = json.loads((folder / file).read_text("utf-8"))
    for name, value in values.items():
        *groups, last = name.split("__")
        group = content
        for each in groups:
            group = group[each]
        group[last] = value
    (folder / file).write_text(json.dumps(content), "utf-8")
    return folder


def reweighted(source: Path, at: Path, change: Callable[[np.ndarray], np.ndarray], part: str = "") -> Path:
    """A copy of a model in which the weights of some names are changed."""
    folder = copy(source, at)
    file = folder / "model.safetensors"
    held = {name: np.asarray(change(value)) if part in name else value for name, value in load_file(file).items()}
    save_file(held, file, metadata={"format": "pt"})
    return folder


def written(source: Path, at: Path, file: str, content: bytes | None) -> Path:
    """A copy of a folder with another file in it; None makes a pipe."""
    folder = copy(source, at)
    (folder / file).unlink(missing_ok=True)
    if content is None:
        os.mkfifo(folder / file)
    else:
        (folder / file).write_bytes(content)
    return folder


TABLE = "text_model.embeddings.token_embedding.weight"
TEACHERS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "weights of NaN": (lambda it, at: reweighted(it, at, lambda value: value * np.nan), "no unit vectors"),
    "one tower of NaN": (lambda it, at: reweighted(it, at, lambda v: v * np.nan, "vision_model"), "of pictures are no"),
    "zeros": (lambda it, at: reweighted(it, at, np.zeros_like), "no unit vectors"),
    "another width": (
        lambda it, at: edited(it, at, "config.json", vision_config__hidden_size=64),
        "do not fit its config.json",
    ),
    "another embedding": (lambda it, at: edited(it, at, "config.json", projection_dim=24), "config.json asks for"),
    "fewer layers": (
        lambda it, at: edited(it, at, "config.json", text_config__num_hidden_layers=1),
        "config.json, which has no text_model.encoder.layers.1",
    ),
    "more layers": (
        lambda it, at: edited(it, at, "config.json", text_config__num_hidden_layers=5),
        "weights are missing",
    ),
    "no heads": (lambda it, at: edited(it, at, "config.json", text_config__num_attention_heads=0), "Fetch config.json"),
    "a width of null": (lambda it, at: edited(it, at, "config.json", text_config__hidden_size=None), "Fetch config"),
    "half the weights": (lambda it, at: written(it, at, "model.safetensors", b"\0" * 99), "Fetch config.json and the"),
    "a pipe of weights": (lambda it, at: written(it, at, "model.safetensors", None), "no weights in model.safetensors"),
    "a vocabulary that is too small": (lambda it, at: reweighted(it, at, lambda v: v[:100].copy(), TABLE), "not fit"),
    "a tokenizer of null": (lambda it, at: written(it, at, "tokenizer.json", b"null"), "tokenizer.json must hold keys"),
    "a tokenizer of junk": (lambda it, at: written(it, at, "tokenizer.json", b"{"), "cannot read file of the model"),
    "a tokenizer of nothing": (lambda it, at: written(it, at, "tokenizer.json", b"{}"), "the tokenizer's files of"),
    "settings that are a list": (lambda it, at: written(it, at, "tokenizer_config.json", b"[1]"), "must hold keys"),
    "pictures of a list": (lambda it, at: written(it, at, "preprocessor_config.json", b"[1]"), "must hold keys"),
}


@pytest.mark.parametrize("kind", TEACHERS)
def test_a_damaged_teacher_is_named_before_anything_is_embedded(
    run: Run, recipe: Callable[..., Path], world: Path, tmp_path: Path, kind: str
) -> None:
    make, words = TEACHERS[kind]
    line = error_line(run("distill", recipe(), "--out", "out", "--set", f"teacher={make(world / 'teacher', tmp_path)}"))
    assert "changed" in line
    assert words in line
    assert line.endswith((".", "teacher", '"'))


STUDENTS: dict[str, Callable[[Path, Path], Path]] = {
    "half the weights": lambda it, at: written(it, at, "model.safetensors", b"\0" * 99),
    "weights of NaN": lambda it, at: reweighted(it, at, lambda value: value * np.nan),
    "a record of null": lambda it, at: written(it, at, "training.json", b"null"),
    "a record of junk": lambda it, at: written(it, at, "training.json", b'{"recipe": 3, "teacher": [1]}'),
    "a tokenizer of null": lambda it, at: written(it, at, "tokenizer.json", b"null"),
    "a shape of a list": lambda it, at: edited(it, at, "config.json", conaclip_edge=[1]),
    "a width below zero": lambda it, at: edited(it, at, "config.json", conaclip_edge__text__width=-1),
    "a width of a billion": lambda it, at: edited(it, at, "config.json", conaclip_edge__text__width=10**9),
}


@pytest.mark.parametrize("kind", STUDENTS)
@pytest.mark.parametrize("command", ["export @ --target onnx --out out", "evaluate @ --data DATA"])
def test_a_damaged_student_is_named(run: Run, searched: SearchWorld, tmp_path: Path, command: str, kind: str) -> None:
    changed = STUDENTS[kind](searched.bundle.parent / "student", tmp_path)
    line = error_line(run(*command.replace("@", str(changed)).replace("DATA", str(searched.pictures)).split()))
    assert "changed" in line


@pytest.mark.parametrize("value", [None, [1], "x", -1, 10**30, float("nan")])
@pytest.mark.parametrize("key", ["embed_dim", "image_size", "context"])
def test_a_manifest_of_wrong_sizes_is_named(
    run: Run, searched: SearchWorld, tmp_path: Path, key: str, value: object
) -> None:
    changed = edited(searched.bundle, tmp_path, "manifest.json", **{key: value})
    line = error_line(run("index", changed, searched.pictures, "--out", "out"))
    assert f"{key} has to be a number" in line


@pytest.mark.parametrize("name", ["", "..", "../other", "a/b", "a\nb", "a\0b", "n" * 300])
def test_a_recipe_is_called_by_what_a_folder_can_be_called(run: Run, recipe: Callable[..., Path], name: str) -> None:
    assert "'name': " in error_line(run("distill", recipe(name=name)))


def test_a_cache_that_cannot_be_is_refused_first(run: Run, recipe: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for cache in ("file", "file/below", "a\0b", "n" * 300):
        assert "cache" in error_line(run("distill", recipe(cache=cache), "--out", "out"))


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
        lambda: conaclip_edge.verify("a\0b"),
        lambda: conaclip_edge.verify("n" * 300),
        lambda: conaclip_edge.verify(searched.bundle, device=3),  # type: ignore[arg-type]
        lambda: conaclip_edge.evaluate(searched.bundle, split=None),  # type: ignore[arg-type]
        lambda: conaclip_edge.evaluate(searched.bundle, target=[]),  # type: ignore[arg-type]
        lambda: conaclip_edge.export_bundle("student", 3),  # type: ignore[arg-type]
        lambda: conaclip_edge.export_bundle("student", tmp_path / "nothing.yaml"),
        lambda: conaclip_edge.export_bundle("student", "onnx", ""),
        lambda: conaclip_edge.open_bundle(searched.bundle, None),  # type: ignore[arg-type]
        lambda: conaclip_edge.open_bundle(searched.bundle, "onnx", "int9"),
        lambda: conaclip_edge.open_bundle(searched.bundle, threads="2"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UserError):
            call()


def test_an_open_bundle_says_what_it_cannot_embed(searched: SearchWorld, tmp_path: Path) -> None:
    bundle = conaclip_edge.open_bundle(searched.bundle)
    os.mkfifo(tmp_path / "pipe.png")
    closed = Image.new("RGB", (4, 4))
    closed.close()
    size = bundle.image_size
    nothing = np.zeros((1, 3, size, size), np.float32)
    for call in (
        *(lambda it=it: bundle.embed_images(it) for it in (None, "a.png", b"x", tmp_path, 3)),
        *(lambda it=it: bundle.embed_images([it]) for it in (None, "a\0b", b"x", tmp_path, 3, "n" * 300)),
        *(lambda it=it: bundle.embed_images([it]) for it in (tmp_path / "pipe.png", closed, Image.new("F", (4, 4)))),
        *(lambda it=it: bundle.embed_images([it]) for it in (Image.new("RGB", (0, 0)), searched.bundle / "README.md")),
        *(lambda it=it: bundle.embed_texts(it) for it in (None, "red", b"x", 3)),
        *(lambda it=it: bundle.embed_texts([it]) for it in (None, b"x", 3, ["red"])),
        *(lambda it=it: bundle.embed_pixels(it) for it in (None, nothing.tolist(), nothing[0], nothing[:, :, 1:])),
        *(lambda it=it: bundle.embed_pixels(it) for it in (nothing.astype(np.float64), nothing.astype(np.uint8))),
    ):
        with pytest.raises(UserError):
            call()
    assert bundle.embed_images([]).shape == bundle.embed_texts([]).shape == (0, bundle.dim)
    index = conaclip_edge.open_index(searched.index)
    for search in (
        lambda: index.search(None),  # type: ignore[arg-type]
        lambda: index.search("red", k=0),
        lambda: index.search("red", k="3"),  # type: ignore[arg-type]
        lambda: index.search(picture=tmp_path / "pipe.png"),
        lambda: index.add("n" * 300),
    ):
        with pytest.raises(UserError):
            search()
