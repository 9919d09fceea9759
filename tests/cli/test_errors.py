"""The command line: a line for every wrong input, which says what, where and how to mend."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import tiny
from tests.helpers.command_line import Run


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def folder(place: Path, rows: list[dict[str, Any]], picture: bytes | None = None) -> Path:
    place.mkdir()
    for number, row in enumerate(rows):
        if picture is None:
            tiny.drawing(list(tiny.COLOURS)[number % 4], "box", "left").save(place / row["file_name"])
        else:
            (place / row["file_name"]).write_bytes(picture)
    (place / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return place


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    splits = ("train", "train", "val", "test")
    return [{"file_name": f"{n}.png", "text": f"text {n}", "split": splits[n % 4]} | more for n in range(count)]


def teacher_without(place: Path, world: Path, pickled: bool) -> Path:
    place.mkdir()
    for path in (world / "teacher").iterdir():
        if path.name != "model.safetensors":
            (place / path.name).write_bytes(path.read_bytes())
    if pickled:
        (place / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    return place


def pickled_checkpoint(place: Path) -> Path:
    place.mkdir()
    (place / "config.json").write_text('{"conaclip_edge": {}}', "utf-8")
    (place / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    return place


def error_line(outcome: tuple[int, str, str]) -> str:
    """Return the one line of an error; anything but exit code 2, silence on stdout and one line fails."""
    code, out, err = outcome
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert "internal error" not in err
    lines = [line for line in err.splitlines() if line.startswith("conaclip-edge: ")]
    assert len(lines) == 1
    assert err.splitlines()[-1] == lines[0]
    return lines[0].removeprefix("conaclip-edge: ")


DATA = [
    (
        "missing folder",
        lambda at: at / "nowhere",
        r"^no file or folder /.*/nowhere\. Correct data\.path, or give an absol",
    ),
    (
        "folder without metadata",
        lambda at: folder(at / "d", []).joinpath("metadata.jsonl").unlink() or at / "d",
        r"^no metadata\.jsonl, metadata\.csv, .* or picture in /.*/d\. Correct data\.path or data\.format\.$",
    ),
    (
        "empty data set",
        lambda at: folder(at / "d", []),
        r"^no picture in /.*/d\. Format 'imagefolder' is a folder of pict",
    ),
    (
        "one pair",
        lambda at: folder(at / "d", rows(4)[1:]),
        r"^data set 'imagefolder:d' has 1 usable train picture with captions; a batch needs 2\. Add captions",
    ),
    (
        "no validation split",
        lambda at: folder(at / "d", rows(4, split="train")),
        r"^data set 'imagefolder:d' has no picture in split 'val': \{'train': 4, 'val': 0, 'test': 0\}\.$",
    ),
    (
        "picture bombs",
        lambda at: folder(at / "d", rows(4), bomb(30_000, 30_000)),
        r"^data set 'imagefolder:d': 4 of 4 pictures cannot be used, more than max_bad = 1\.0%: 0\.png: 30000x30000 p",
    ),
    (
        "picture bomb over max_pixels",
        lambda at: folder(at / "d", rows(4), bomb(9_000, 9_000)),
        r"0\.png: 9000x9000 pixels are more than max_pixels = 64000000; .*Mend them, or raise data\.max_bad\.$",
    ),
    (
        "broken pictures",
        lambda at: folder(at / "d", rows(4), b"GIF89a"),
        r"^data set 'imagefolder:d': 4 of 4 pictures cannot be used, more than max_bad = 1\.0%: 0\.png: cannot be dec",
    ),
    (
        "missing pictures",
        lambda at: [path.unlink() for path in folder(at / "d", rows(4)).glob("*.png")] and at / "d",
        r"^no picture in /.*/d\. First of 4 skipped: 0\.png: no such file in /.*/d\. Format 'imagefolder' is ",
    ),
]


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in DATA], ids=[case[0] for case in DATA])
def test_wrong_data_are_reported_in_a_line(
    run: Run, recipe: Callable[..., Path], tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    data = {"path": str(make(tmp_path)), "val_fraction": 0, "test_fraction": 0}
    line = error_line(run("distill", recipe(data=data), "--out", "out"))

    assert re.search(message, line), line
    assert not Path("out").exists()


RECIPES = [
    (
        "--set train.stesp=3",
        r"^unknown key 'stesp' in .*recipe\.yaml \(train\.stesp\)\. Did you mean 'steps'\? Known: ",
    ),
    ("--set tarin.steps=3", r"^unknown key 'tarin' in .*recipe\.yaml \(tarin\)\. Did you mean 'train'\?"),
    ("--set student.image.widht=3", r"^unknown key 'widht' in student\.image \(widht\)\. Did you mean 'width'\?"),
    (
        "--set data.format=imagfolder",
        r"^unknown data format 'imagfolder' in data\.format\. Did you mean 'imagefolder'\? Known: coco, easynlp, .*",
    ),
    (
        "--set student.image.kind=vti",
        r"^unknown image tower 'vti' in student\.image\.kind\. Did you mean 'vit'\? "
        r"Known: mobile, siglip, transformers, vit\.$",
    ),
    ("--set train.steps=many", r"'train\.steps': Input should be a valid integer.* got 'many'\.$"),
    (
        "--set train.steps=0",
        r"^train\.steps is 0 and there is no train\.qat, so nothing would be trained\. Set one of them\.$",
    ),
    ("--set train.steps=-1", r"'train\.steps': Input should be greater than or equal to 0, got -1\.$"),
    ("--set train.steps", r"^--set takes key=value, got 'train\.steps'\. Example: --set train\.steps=100$"),
    ("--set name.first=x", r"^--set name\.first=x: 'name' is a value, not a group of keys\.$"),
    ("--set train=[", r"^--set train=\[: cannot read the value '\['\.$"),
    (
        "--set student.preset=dmeo",
        r"^unknown student preset 'dmeo'\. Did you mean 'demo'\? Known: demo, mobile, mobile-int8-m, ",
    ),
    (
        "--set graph.preset=conclip",
        r"^unknown graph preset 'conclip'\. Did you mean 'conaclip'\? Known: all-types, clip-kd, .*motis.*\.$",
    ),
    (
        "--set graph.terms=[{edge: SI-TU, loss: sd}]",
        r"^unknown edge 'SI-TU' in the graph\. Did you mean 'SI-T[IT]'\? Known: SI-SI, .*, intra-ts\.$",
    ),
    (
        "--set graph.terms=[{edge: SI-TI, loss: inofnce}]",
        r"^unknown loss 'inofnce' in the graph\. Did you mean 'infonce'\? "
        r"Known: fd, infonce, kl, sd, sigmoid, sym-kl, sym-sd",
    ),
    (
        "--set graph.terms=[{edge: SI-SI, loss: fd}]",
        r"^loss 'fd' makes no sense on edge 'SI-SI'\. Known for it: sd, kl\.$",
    ),
    (
        "--set graph.terms=[{edge: SI-TI, losss: fd}]",
        r"^unknown key 'losss' in .*recipe\.yaml \(graph\.terms\.0\.losss\)\. Did you mean 'loss'\?",
    ),
    ("--set graph.terms=[{edge: inter-ts, loss: kl}]", r"^loss 'kl' on edge 'inter-ts' needs a fixed temperature"),
    (
        "--set train.batch_size=2 --set train.unpaired=0.99 --set data.labelled=0.5",
        r"holds no pair of the 14 there are\.",
    ),
    ("--set student.embed_dim=7", r"^student\.embed_dim = 7, but the teacher's space has 16 dimensions"),
    ("--set student.freeze_blocks=1", r"^student\.freeze_blocks needs a mobile image tower"),
    ("--set student.init_image=nowhere", r"^student\.init_image: no model\.safetensors in nowhere\."),
    ("--resume", r"^nothing to resume at out\.run\. Start without --resume\.$"),
    (
        "--set teacher=./nowhere",
        r"^no teacher at \./nowhere: a folder with config\.json and model\.safetensors is needed",
    ),
]


@pytest.mark.parametrize(("options", "message"), RECIPES, ids=[case[0] for case in RECIPES])
def test_a_wrong_recipe_is_reported_in_a_line(
    run: Run, recipe: Callable[..., Path], options: str, message: str
) -> None:

    split = [part.strip() for option in options.split("--set ")[1:] for part in ("--set", option)] or [options]
    line = error_line(run("distill", recipe(), "--out", "out", *split))
    assert re.search(message, line), line
    assert not Path("out").exists()


FILES = [
    (
        "missing",
        None,
        r"^no recipe at recipe\.yaml\. Write one for your pictures: conaclip-edge init PICTURES --teacher MODEL$",
    ),
    ("not YAML", "a: [", r"^cannot read recipe\.yaml: while parsing"),
    ("not a mapping", "- a\n- b\n", r"^recipe\.yaml must hold keys and values, not list\.$"),
    (
        "a Python tag",
        "name: !!python/object/apply:os.getcwd []",
        r"^cannot read recipe\.yaml: could not determine a con",
    ),
    ("not text", b"\xff\xfe\x00", r"^cannot read recipe\.yaml: "),
    (
        "a section that is a value",
        "train: 3",
        r"^recipe\.yaml: 'train' has keys of its own \(accumulate, .*\), got 3\.$",
    ),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_a_recipe_file_that_is_none_is_reported_in_a_line(run: Run, content: str | bytes | None, message: str) -> None:

    if content is not None:
        Path("recipe.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    line = error_line(run("distill", "recipe.yaml"))
    assert re.search(message, line), line


@pytest.mark.parametrize("pickled", [False, True])
def test_a_teacher_without_safetensors_is_refused(
    run: Run, recipe: Callable[..., Path], world: Path, tmp_path: Path, pickled: bool
) -> None:
    place = teacher_without(tmp_path / "other", world, pickled)
    line = error_line(run("distill", recipe(teacher=str(place)), "--out", "out"))
    assert line.startswith(
        f"teacher {place} has no weights in model.safetensors; pickled ones (pytorch_model.bin) are "
    )
    (place / "config.json").write_text('{"model_type": "conaclip-edge-teacher"}', "utf-8")
    line = error_line(run("distill", recipe(teacher=str(place)), "--out", "out"))
    assert line == f"teacher {place} has no model.safetensors. Make it again: conaclip-edge train-teacher"


def test_a_pickled_checkpoint_is_refused(run: Run, world: Path, tmp_path: Path) -> None:
    place = pickled_checkpoint(tmp_path / "pickled")
    line = error_line(run("evaluate", place, "--data", world / "data"))
    assert line.startswith(f"checkpoint {place} has no model.safetensors. It has pytorch_model.bin, which is refused: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate nowhere", "no model at nowhere: a folder of a teacher, a checkpoint or a bundle is needed."),
        (
            "evaluate nowhere --split tran",
            "unknown split 'tran' in --split. Did you mean 'train'? Known: test, train, val.",
        ),
        ("export nowhere --target onnx", "no checkpoint at nowhere. Make one: conaclip-edge distill --out nowhere"),
        ("export --target corml", "unknown target 'corml' in --target. Did you mean 'coreml'?"),
        (
            "export --precision int4",
            "target 'onnx': 'precision': Input should be 'int8', 'fp16' or 'fp32', got 'int4'.",
        ),
        ("verify nowhere", "no bundle at nowhere: it has no manifest.json. Make one: conaclip-edge export"),
        ("benchmark nowhere", "no bundle at nowhere. Make one: conaclip-edge export --target all"),
        ("report nothing.json", "no report at nothing.json. Make one: conaclip-edge benchmark"),
        ("train-teacher --set bse=x", "unknown key 'bse' in the demo's recipe (bse). Did you mean 'base'?"),
        (
            "train-teacher --set base=/nowhere",
            "no teacher at /nowhere: a folder with config.json and model.safetensors",
        ),
        ("compare --graphs infonce,moits", "unknown graph preset 'moits' in --graphs. Did you mean 'motis'?"),
    ],
)
def test_other_wrong_use_is_reported_in_a_line(run: Run, arguments: str, message: str) -> None:
    assert error_line(run(*arguments.split())).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "word"), [("distil", "distil"), ("distill --stesp 3", "--stesp"), ("evaluate", "argument 'model'")]
)
def test_a_usage_error_shows_the_usage_and_exits_2(run: Run, arguments: str, word: str) -> None:
    code, out, err = run(*arguments.split())
    assert code == 2
    assert out == ""
    assert "Usage: " in err
    assert word in err
    assert "Traceback" not in err
