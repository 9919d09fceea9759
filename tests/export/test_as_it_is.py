"""A CLIP folder of others goes through all commands without a distillation, by the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from conaclip_edge.benchmarks.schema.row_ids import STUDENT, TEACHER
from conaclip_edge.bundle.manifest import read_manifest
from tests.helpers.command_line import Run
from tests.helpers.models.clip_folders import half

SETTINGS = ("inputs=2", "loads=1", "rounds.min_rounds=8", "rounds.max_rounds=8", "batches=[1]", "threads=[1]")
MORE = ("full_context=false", "bootstrap=20", "comparison=[teacher, student]")
QUICK = [f"--set={setting}" for setting in (*SETTINGS, *MORE)]


@pytest.fixture(scope="module")
def half_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP in float16, which no test may change."""
    folder = tmp_path_factory.mktemp("models") / "half-clip"
    half(folder)
    return folder


def done(result: tuple[int, str, str]) -> tuple[str, str]:
    """Return what a command that ended well printed to stdout and stderr."""
    code, out, err = result
    assert code == 0, err
    return out, err


def refused(result: tuple[int, str, str]) -> str:
    """Return the one line that a command of wrong use ended with."""
    code, _, err = result
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("conaclip-edge: ")]
    assert len(lines) == 1, err
    return lines[0].removeprefix("conaclip-edge: ")


def test_a_clip_is_exported_measured_and_searched_as_it_is(run: Run, world: Path, half_clip: Path) -> None:
    shutil.copytree(half_clip, "mine")
    exact = ("--target", "onnx", "--precision", "fp32")
    _, err = done(run("export", "mine", "--data", world / "data", *exact))
    assert "exporting mine as it is (no distillation record)" in err
    assert sorted(path.name for path in Path("mine").iterdir()) == sorted(path.name for path in half_clip.iterdir())

    manifest = read_manifest(Path("mine.bundle"))
    assert manifest.name == "mine"
    assert manifest.training["adopted"] == {"family": "CLIP", "checkpoint": "mine"}
    assert all(file.gate.split.startswith("val") for file in manifest.files)

    for name in ("README.md", "LICENSE.md"):
        text = Path("mine.bundle", name).read_text("utf-8")
        assert "exported as it was" in text
        assert not re.search("teacher:|biases of its teacher|size not recorded", text, re.I), name
    found = json.loads(done(run("info", "mine.bundle", "--json"))[0])
    assert found["facts"]["made of"] == "a CLIP as it is, without distilling"
    found = json.loads(done(run("info", "mine", "--json"))[0])
    assert "conaclip-edge export mine --target all --data PICTURES" in found["next_command"]

    assert done(run("verify", "mine.bundle"))[0].splitlines()[-1] == "ok"
    evaluated = json.loads(done(run("evaluate", "mine.bundle", "--data", world / "data", "--json"))[0])
    assert evaluated["dataset"]["pictures"] > 0

    report = json.loads(done(run("benchmark", "mine.bundle", "--data", world / "data", *QUICK, "--json"))[0])
    rows = {row["id"]: row["label"] for row in report["rows"]}
    assert TEACHER not in rows
    assert rows[STUDENT] == "Float32 model"
    shares = next(row["relative_recall"] for row in report["rows"] if row["id"] == "onnx-fp32")
    assert shares["student"]["t2i"]["value"] == pytest.approx(1)

    done(run("index", "mine.bundle", world / "data"))
    hits = json.loads(done(run("search", "mine.index", "a red box", "--json"))[0])
    assert hits["hits"]


def test_a_bundle_far_from_its_model_is_benchmarked_without_relative_recall(
    run: Run, world: Path, half_clip: Path
) -> None:
    exact = ("--target", "onnx", "--precision", "fp32")
    done(run("export", half_clip, "--data", world / "data", *exact, "--out", "here"))
    shutil.copytree("here", "far/away/bundle")
    out, err = done(run("benchmark", "far/away/bundle", "--data", world / "data", *QUICK, "--json"))
    assert "so no relative recall is measured. Name it: --set student=FOLDER" in err
    assert {TEACHER, STUDENT}.isdisjoint(row["id"] for row in json.loads(out)["rows"])


def test_without_data_one_line_asks_for_them(run: Run, half_clip: Path) -> None:
    line = refused(run("export", half_clip))
    assert line == (
        f"{half_clip} has no record of a distillation, so nothing says which pictures to calibrate and check its "
        "files with. Pass --data FOLDER (pictures with captions) or --data RECIPE."
    )


@pytest.mark.parametrize("command", ["evaluate", "benchmark"])
def test_without_data_a_bundle_asks_for_them_too(run: Run, world: Path, half_clip: Path, command: str) -> None:
    exact = ("--target", "onnx", "--precision", "fp32")
    done(run("export", half_clip, "--data", world / "data", *exact, "--out", "bundle"))
    assert refused(run(command, "bundle")).endswith("Pass --data RECIPE_OR_FOLDER.")


REFUSED = {
    "chinese_clip": r"is a Chinese-CLIP, whose towers have no form for export .* init PICTURES --teacher ",
    "altclip": r"is an AltCLIP, whose towers .* Distil a student from it: ",
    "vision-text-dual-encoder": r"is a VisionTextDualEncoder, whose towers .* Distil a student from it: ",
    "conaclip-edge-teacher": r"is a teacher that train-teacher joined of two towers, .* Distil a student from it: ",
    "clip_text_model": r"is the text tower alone \('clip_text_model'\)\. Search needs both",
    "bert": r"is a 'bert' model; a checkpoint of distill or a CLIP",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_another_family_is_named_with_the_way_out(run: Run, world: Path, half_clip: Path, kind: str) -> None:
    shutil.copytree(half_clip, "other")
    Path("other/config.json").write_text(json.dumps({"model_type": kind}), "utf-8")
    line = refused(run("export", "other", "--data", world / "data"))
    assert re.search(REFUSED[kind], line), line


def test_folders_of_other_tools_are_named_with_the_way_out(run: Run, world: Path, half_clip: Path) -> None:
    shutil.copytree(half_clip, "other")
    Path("other/config.json").write_text(json.dumps({"model_type": "open_clip", "vision_layers": 2}), "utf-8")
    line = refused(run("export", "other", "--data", world / "data"))
    assert line.startswith("other is a checkpoint of EasyNLP. Convert it once: conaclip-edge convert other --out ")
    Path("other/config.json").rename("other/open_clip_config.json")
    line = refused(run("export", "other", "--data", world / "data"))
    assert line.startswith("other is a checkpoint of OpenCLIP.")
    assert "conaclip-edge convert other --out other-converted" in line
    assert "conaclip-edge init PICTURES --teacher other" in line


def test_quantised_weights_are_refused(run: Run, world: Path, half_clip: Path) -> None:
    shutil.copytree(half_clip, "other")
    content = json.loads(Path("other/config.json").read_text("utf-8"))
    content["quantization_config"] = {"quant_method": "bitsandbytes"}
    Path("other/config.json").write_text(json.dumps(content), "utf-8")
    assert "quantised already" in refused(run("export", "other", "--data", world / "data"))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("merges.txt", r"has no tokenizer: one of tokenizer\.json, vocab\.txt"),
        ("preprocessor_config.json", r"has no image processor: preprocessor_config\.json is needed"),
        ("model.safetensors", r"has no model\.safetensors\. It has pytorch_model\.bin, which is refused: .*python -c "),
    ],
)
def test_a_file_that_is_missing_is_named(run: Run, world: Path, half_clip: Path, file: str, message: str) -> None:
    shutil.copytree(half_clip, "other")
    Path("other", "tokenizer.json" if file == "merges.txt" else file).unlink()
    if file == "model.safetensors":
        Path("other/pytorch_model.bin").write_bytes(b"no pickle")
    line = refused(run("export", "other", "--data", world / "data"))
    assert re.search(message, line), line
