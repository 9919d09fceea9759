"""Recall of model folders: the right encoder, the right rows, and a reason where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.preprocess import decode
from conaclip_edge.distill.trainer import distill
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.encoders import open_encoder
from conaclip_edge.evaluation.evaluate import evaluate, rank_split, recorded_data, table
from tests.helpers import tiny


@pytest.fixture(scope="module")
def student(world: Path, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("student")
    distill(settings(), home / "student")
    return home / "student"


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))


def naive_recall(pictures: np.ndarray, texts: np.ndarray, caption_to_image: list[int]) -> dict[str, dict[str, float]]:
    scores = (pictures @ texts.T).tolist()
    t2i = [sum(line[t] >= scores[image][t] for line in scores) for t, image in enumerate(caption_to_image)]
    i2t = []
    for p, line in enumerate(scores):
        own = max(score for score, image in zip(line, caption_to_image, strict=True) if image == p)
        i2t.append(1 + sum(score >= own for score, image in zip(line, caption_to_image, strict=True) if image != p))
    return {
        way: {str(k): 100 * float(np.mean([rank <= k for rank in found])) for k in (1, 5, 10)}
        for way, found in (("t2i", t2i), ("i2t", i2t))
    }


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("kind", ["student", "teacher"])
def test_recall_is_that_of_the_whole_matrix(world: Path, student: Path, kind: str, split: str) -> None:
    model = student if kind == "student" else world / "teacher"
    found = evaluate(model, None if kind == "student" else world / "data", split, "onnx")
    pairs = read_pairs(DataConfig(format="imagefolder", path=world / "data"))
    rows = pairs.rows(split).tolist()
    encoder = open_encoder(model)
    texts = [text for row in rows for text in pairs.captions[row]]
    caption_to_image = [place for place, row in enumerate(rows) for _ in pairs.captions[row]]
    pictures = encoder.embed_images(decode(pairs.read(row)) for row in rows)
    wanted = naive_recall(pictures, encoder.embed_texts(texts), caption_to_image)
    for way in ("t2i", "i2t"):
        assert found.recall[way] == pytest.approx(wanted[way])
    data = found.dataset
    assert (data.name, data.split, data.left_out) == ("imagefolder:data", split, ())
    assert data.pictures == len(rows) == {"val": 10, "test": 9}[split]
    assert data.captions == 2 * len(rows)
    assert data.fingerprint == pairs.fingerprint
    assert found.executed == "torch"
    assert found.mean_recall == pytest.approx(np.mean([v for way in found.recall.values() for v in way.values()]))
    for way, recalls in found.recall.items():
        for k, value in recalls.items():
            low, high = found.interval_95[way][k]
            assert low <= value <= high


def test_a_student_s_recall_on_val_is_what_its_training_reported(student: Path) -> None:
    reported = json.loads((student / "training.json").read_text("utf-8"))["val"]
    found = evaluate(student, None, "val", "onnx")
    for key in ("recall", "median_rank", "mean_recall"):
        assert getattr(found, key) == reported[key]


def test_many_pictures_and_texts_are_encoded_in_batches_of_the_same_result(
    student: Path,
) -> None:
    config = recorded_data(student)
    encoder, pairs = open_encoder(student), read_pairs(config)
    whole, _ = rank_split(encoder, pairs, "train", config)
    small, _ = rank_split(replace(encoder, pictures_per_call=4, texts_per_call=4), pairs, "train", config)
    assert small.recall() == whole.recall()


def data_folder(place: Path, **changes: Any) -> Path:
    """The drawings, with some keys of every metadata row changed."""
    tiny.image_folder(place)
    path = place / "metadata.jsonl"
    lines = [json.loads(line) | changes for line in path.read_text("utf-8").splitlines()]
    path.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    return place


def test_broken_pictures_are_left_out_named_and_limited(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data_folder(tmp_path / "data", split="test")
    (folder / "red-disc-left.png").write_bytes(b"no picture")
    recipe = tiny.write_recipe(
        tmp_path / "recipe.yaml", {"data": {"format": "imagefolder", "path": str(folder), "max_bad": 0.05}}
    )
    found = evaluate(student, recipe, "test", "onnx")
    assert found.dataset.pictures == 47
    assert found.dataset.captions == 94
    assert [reason.split(":")[0] for reason in found.dataset.left_out] == ["red-disc-left.png"]
    assert "1 of 48 pictures left out: red-disc-left.png: cannot be decoded" in capsys.readouterr().err
    (folder / "red-disc-right.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"2 of 48 pictures cannot be used, more than max_bad = 1\.0%"):
        evaluate(student, folder, "test", "onnx")


def test_what_cannot_be_evaluated_says_why(student: Path, world: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "config.json").write_text('{"model_type": "bert"}', "utf-8")
    bare = data_folder(tmp_path / "bare")
    lines = [json.loads(line) for line in (bare / "metadata.jsonl").read_text("utf-8").splitlines()]
    without = [line | {"captions": []} if line["split"] == "test" else line for line in lines]
    (bare / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in without), "utf-8")
    for model, data, split, message in (
        (
            Path("missing"),
            None,
            "test",
            "no model at missing: a folder of a teacher, a checkpoint or a bundle is needed",
        ),
        (tmp_path / "empty", None, "test", "no model at .*empty: a folder of a teacher"),
        (tmp_path / "stranger", None, "test", "is no dual encoder: its config.json says model_type 'bert'"),
        (world / "teacher", None, "test", r"does not say which data it was trained on\. Pass --data RECIPE_OR_FOLDER"),
        (student, tmp_path / "empty", "test", "no data set at .*empty: a recipe"),
        (student, None, "tset", r"unknown split 'tset' in --split\. Did you mean 'test'\?"),
        (student, bare, "test", r"split 'test' of data set 'imagefolder:bare' has no captions to evaluate with"),
        (student, data_folder(tmp_path / "train", split="train"), "val", None),
    ):
        if message is None:
            assert evaluate(model, data, split, "onnx").dataset.pictures > 0
            continue
        with pytest.raises(UserError, match=message):
            evaluate(model, data, split, "onnx")


def test_the_table_shows_every_figure(student: Path) -> None:
    found = evaluate(student, None, "test", "onnx")
    shown = table(found)
    assert "9 pictures, 18 captions" in shown
    for way in found.recall.values():
        for value in way.values():
            assert f"{value:.1f} [" in shown
    assert f"mean of the six: {found.mean_recall:.1f} %" in shown


def test_the_report_s_dump_has_the_keys_that_scripts_read(student: Path) -> None:
    found = evaluate(student, None, "test", "onnx").model_dump(mode="json", by_alias=True)
    assert list(found) == [
        "model",
        "executed",
        "dataset",
        "recall",
        "interval_95",
        "median_rank",
        "mean_recall",
        "rules",
        "certainty",
    ]
    assert list(found["dataset"]) == ["name", "split", "pictures", "captions", "left_out", "fingerprint"]
    assert {way: list(values) for way, values in found["recall"].items()} == {
        "t2i": ["1", "5", "10"],
        "i2t": ["1", "5", "10"],
    }
    assert len(found["interval_95"]["i2t"]["10"]) == 2
    assert found["rules"].startswith("i2t: any caption counts")


def test_recall_comes_with_number_of_pictures_chance_interval_and_the_teacher_s(world: Path, student: Path) -> None:
    found = evaluate(student, None, "test", "onnx")
    of_teacher = evaluate(world / "teacher", world / "data", "test", "onnx")
    beside = found.certainty
    assert beside.pictures == found.dataset.pictures
    assert beside.teacher_mean_recall == pytest.approx(of_teacher.mean_recall, abs=5)  # the cache keeps float16
    assert beside.interval_95[0] <= found.mean_recall <= beside.interval_95[1]
    assert "too few to tell" in table(found)
    assert f"chance {beside.chance:.1f} %" in table(found)
