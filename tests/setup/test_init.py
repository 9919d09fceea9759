"""`init`: from a folder of pictures and a teacher to a recipe that `distill` takes as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from conaclip_edge.config.load import distill_recipe
from conaclip_edge.distill.supervisions import SUPERVISIONS
from tests.cli.test_errors import error_line
from tests.helpers import tiny
from tests.helpers.command_line import Run
from tests.helpers.models.openclip_plain import PLAIN_FOLDER

FEW_STEPS = (
    "--set",
    "train.steps=2",
    "--set",
    "synthetic.texts=40",
    "--set",
    "train.teacher_views=1",
    "--set",
    "train.qat.steps=1",
)


def pictures(folder: Path, count: int = 60) -> Path:
    """The 48 drawings and upside-down ones after them, each with a caption in metadata.jsonl and without a split."""
    tiny.image_folder(folder)
    lines = []
    for number, (name, picture) in enumerate(_drawings()):
        if number == count:
            break
        picture.save(folder / name)
        lines.append(json.dumps({"file_name": name, "caption": name.removesuffix(".png").replace("-", " ")}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    for path in folder.glob("*.png"):
        if f'"{path.name}"' not in "".join(lines):
            path.unlink()
    return folder


def _drawings() -> Iterator[tuple[str, Image.Image]]:
    for turn in ("", "turned-"):
        for colour in tiny.COLOURS:
            for shape in tiny.SHAPES:
                for place in tiny.PLACES:
                    drawn = tiny.drawing(colour, shape, place)
                    yield f"{turn}{colour}-{shape}-{place}.png", ImageOps.flip(drawn) if turn else drawn


def written(run: Run, *arguments: str | Path) -> dict[str, Any]:
    """Write a recipe; returns what `init` reports."""
    code, out, err = run("init", *arguments, "--json")
    assert code == 0, err
    report: dict[str, Any] = json.loads(out)
    return report


def test_sixty_captioned_pictures_go_from_a_folder_to_a_measured_student(run: Run, world: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path / "Holiday Photos")
    report = written(run, data, "--teacher", world / "teacher")
    found = report["data"]
    assert (found["format"], found["pictures"], found["captions"]) == ("imagefolder", 60, 60)
    assert found["splits"] == found["captioned_splits"] == {"train": 40, "val": 10, "test": 10}
    assert (found["broken"], found["missing"], found["decoded"]) == (0, 0, 60)
    assert found["scripts"] == {"LATIN": 1.0}
    teacher = report["teacher"]
    assert (teacher["type"], teacher["embed_dim"], teacher["context"]) == ("clip", 16, 24)
    assert report["cost"]["training_seconds"] > 0
    assert report["cost"]["memory_bytes"] > 1e8
    # its teacher is smaller than any student
    assert [note.split(" (")[0] for note in report["notes"]] == [
        "Captioned pictures that are held out: 10 in val and 10 in test are too few to tell a good model from a "
        "poor one.",
        "The student",
    ]

    recipe = distill_recipe(Path("recipe.yaml"), [])
    assert (recipe.name, recipe.student.preset) == ("holiday-photos", "demo")
    assert (recipe.train.steps, recipe.train.batch_size) == (report["plan"]["steps"], 32)
    assert recipe.student.vocab.keep == "all"  # the tokenizer has fewer pieces than are kept anyway
    assert report["next_commands"][0] == "conaclip-edge distill recipe.yaml"

    code, _, err = run("distill", "recipe.yaml", *FEW_STEPS)
    assert code == 0, err
    code, out, err = run("evaluate", "runs/holiday-photos", "--json")
    assert code == 0, err
    assert json.loads(out)["dataset"]["pictures"] == 10


def test_a_teacher_of_openclip_gets_a_recipe(run: Run, tmp_path: Path) -> None:
    report = written(run, pictures(tmp_path / "data"), "--teacher", PLAIN_FOLDER / "vit")
    assert (report["teacher"]["embed_dim"], report["next_commands"][0]) == (24, "conaclip-edge distill recipe.yaml")


def test_pictures_without_captions_get_a_graph_that_needs_none(run: Run, world: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path / "unpaired")
    (data / "metadata.jsonl").unlink()
    report = written(run, data, "--teacher", world / "teacher")
    assert any("Recall of captions cannot be measured" in note for note in report["notes"])
    recipe = distill_recipe(Path("recipe.yaml"), [])
    assert recipe.graph.terms
    assert not any(SUPERVISIONS[term.loss].learns_from_pairs_alone(term.edge) for term in recipe.graph.terms)
    assert recipe.synthetic.texts > 0
    assert not any("evaluate" in command for command in report["next_commands"])
    code, out, err = run("distill", "recipe.yaml", *FEW_STEPS, "--json")
    assert code == 0, err
    assert json.loads(out)["val"]["of"] == "teacher pictures"


def test_the_text_says_what_was_found_and_what_comes_next(run: Run, world: Path) -> None:
    code, out, err = run("init", world / "data", "--teacher", world / "teacher")
    assert code == 0, err
    assert "48 pictures, 48 with captions (96 captions, 2.0 per captioned picture)" in out
    assert "note: 48 captioned pictures are few: 60 are the least" in out
    assert "of training" in out
    assert "about" in out
    assert "  conaclip-edge distill recipe.yaml" in out


def test_a_recipe_that_is_there_is_kept(run: Run, world: Path) -> None:
    Path("recipe.yaml").write_text("mine", "utf-8")
    line = error_line(run("init", world / "data", "--teacher", world / "teacher"))
    assert line == "recipe.yaml is there already. Name another file (--out), or overwrite it: --force"
    assert Path("recipe.yaml").read_text("utf-8") == "mine"
    written(run, world / "data", "--teacher", world / "teacher", "--force")
    assert distill_recipe(Path("recipe.yaml"), []).name == "data"


def test_broken_pictures_are_named_and_allowed_by_the_recipe(run: Run, world: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path / "d")
    for name in ("red-box-left.png", "blue-bar-left.png", "green-disc-left.png"):
        (data / name).write_bytes(b"\x89PNG")
    report = written(run, data, "--teacher", world / "teacher")
    assert report["data"]["broken"] == 3
    assert "red-box-left.png" in " ".join(report["data"]["first_broken"])
    assert 0.05 < distill_recipe(Path("recipe.yaml"), []).data.max_bad < 0.1
    assert any("5.0% of the pictures cannot be used" in note for note in report["notes"])


def test_scripts_that_the_teacher_hardly_knows_are_noted(run: Run, world: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path / "猫: {on}")
    lines = [{"file_name": path.name, "caption": "赤い箱が左にある"} for path in sorted(data.glob("*.png"))]
    (data / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    report = written(run, data, "--teacher", world / "teacher", "--out", "new/日 本.yaml")
    assert report["data"]["scripts"] == {"HIRAGANA": 0.625, "CJK": 0.375}
    assert any("ids per letter" in note for note in report["notes"])
    assert any("longer than the teacher's 24 ids" in note for note in report["notes"])
    recipe = distill_recipe(Path("new/日 本.yaml"), [])
    assert report["next_commands"][0] == "conaclip-edge distill 'new/日 本.yaml'"
    assert (recipe.data.path, recipe.name) == (data, "猫-on")


def test_without_a_teacher_the_demo_s_is_taken_and_how_to_make_it_is_said(run: Run, world: Path) -> None:
    report = written(run, world / "data")
    assert not report["teacher"]["made"]
    assert report["teacher"]["embed_dim"] == 384
    assert report["next_commands"][0] == "conaclip-edge train-teacher --out runs/demo/teacher"
    assert any("names of emoji" in note for note in report["notes"])
    assert distill_recipe(Path("recipe.yaml"), []).teacher.endswith("/runs/demo/teacher")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "no file or folder"),
        (("data", "--teacher", "./nowhere"), "no teacher at ./nowhere"),
        (("data", "--teacher", "data"), "no teacher at data: a folder with config.json"),
        (("data", "--teacher", "TEACHER", "--out", "data"), "data is a folder"),
        (("empty", "--teacher", "TEACHER"), "no data set at"),
        (("three", "--teacher", "TEACHER"), "has 3 pictures; a student needs 60 captioned ones"),
    ],
)
def test_a_wrong_argument_is_a_line(
    run: Run, world: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "data").symlink_to(world / "data")
    (tmp_path / "empty").mkdir()
    pictures(tmp_path / "three", 3)
    given: list[str | Path] = [world / "teacher" if each == "TEACHER" else each for each in arguments]
    assert message in error_line(run("init", *given))
    assert not Path("recipe.yaml").exists()
