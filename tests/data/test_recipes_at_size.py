"""The recipes for large data sets, each run small through the command line on data in exactly its format."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.helpers import tiny

RECIPES = Path(__file__).parents[2] / "distill" / "recipes"


@pytest.fixture(scope="session")
def photographs(samples):
    """All drawings as JPEG files with two captions each."""
    sample = type(samples[0])
    found = []
    for colour in tiny.COLOURS:
        for shape in tiny.SHAPES:
            for place in tiny.PLACES:
                buffer = io.BytesIO()
                tiny.drawing(colour, shape, place).save(buffer, "JPEG", quality=95)
                captions = (f"{colour} {shape} {place}", f"a {shape} in {colour}, {place}")
                found.append(sample(f"{colour}-{shape}-{place}.jpg", buffer.getvalue(), captions))
    return found


def small(world: Path, config) -> list[str]:
    """Settings that make a recipe as small as the tests' teacher, and its data those of a fixture."""
    student = {**tiny.STUDENT, "init_image": "none", "init_text": "auto"}
    changes = {
        "teacher": world / "teacher",
        "student": student,
        "data.path": config.path,
        "data.images": config.images or "null",
        "data.val_fraction": 0.2,
        "data.test_fraction": 0.2,
        "train.steps": 3,
        "train.batch_size": 8,
        "train.bf16": "false",
        "train.eval_every": 2,
        "graph.queue": 20,
        "cache": "cache",
    }
    return [f"{key}={json.dumps(value) if isinstance(value, dict) else value}" for key, value in changes.items()]


def distilled(run, world: Path, recipe: str, config, *more: str) -> dict:
    settings = [part for setting in [*small(world, config), *more] for part in ("--set", setting)]
    code, out, err = run("distill", RECIPES / f"{recipe}.yaml", *settings, "--out", f"runs/{recipe}", "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize(
    ("recipe", "format_"), [("cc3m", "webdataset"), ("flickr30k", "karpathy"), ("coco", "karpathy")]
)
def test_the_recipe_runs_on_data_in_its_format(run, world, writers, photographs, tmp_path, recipe, format_):
    values = yaml.safe_load((RECIPES / f"{recipe}.yaml").read_text("utf-8"))
    assert values["data"]["format"] == format_
    config = writers[format_](tmp_path / "source", photographs)
    more = []
    if "init_image" in values["student"]:  # a stage after another one
        before = distilled(run, world, "cc3m", writers["webdataset"](tmp_path / "shards", photographs))
        more = [f"student.{key}={before['checkpoint']}" for key in ("init_image", "init_text")]
    record = distilled(run, world, recipe, config, *more)
    assert record["recipe"]["data"]["format"] == format_
    assert record["data"]["train_pictures"] >= 24
    if more:
        assert record["parameters"]["started_from_pretrained"] > 0.9 * record["parameters"]["all"]


def losses(checkpoint: str) -> list[float]:
    """Return InfoNCE between the student's towers, step by step."""
    lines = (Path(checkpoint) / "training.jsonl").read_text("utf-8").splitlines()
    return [step["terms"]["SI-ST/infonce"] for step in map(json.loads, lines) if "terms" in step]


def test_fine_tuning_begins_where_the_earlier_ended_and_learns_its_pairs(run, world, writers, photographs, tmp_path):
    config = writers["karpathy"](tmp_path / "source", photographs)
    before = distilled(run, world, "flickr30k", config, "train.steps=6", "train.lr=0.001")
    start = [f"student.{key}={before['checkpoint']}" for key in ("init_image", "init_text")]
    for preset in ("conaclip", "infonce"):  # with and without the teacher
        stood = distilled(
            run, world, "coco", config, *start, "train.steps=1", "train.lr=1e-12", f"graph.preset={preset}"
        )
        assert stood["val"] == before["val"]
    # recall on the few held-out drawings says nothing of so short a training; the loss on the same batches does
    still, learnt = (
        losses(distilled(run, world, "coco", config, *start, "train.steps=60", f"train.lr={lr}")["checkpoint"])
        for lr in ("1e-12", "0.002")
    )
    assert np.mean(learnt[-10:]) < 0.9 * np.mean(still[-10:])
