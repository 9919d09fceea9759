"""A teacher of packaged towers: it learns the pairs, its folder loads, its cache is filled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from conaclip_edge.config.distill import TeacherConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.preprocess import decode
from conaclip_edge.distill.teacher.join_towers import train_teacher
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.evaluate import evaluate
from conaclip_edge.models.teacher.joined import JoinedTeacher
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.models.teacher.record import TeacherTraining
from conaclip_edge.teacher_cache.store import teacher_cache
from tests.helpers import tiny


@pytest.fixture(scope="module")
def joined(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TeacherConfig, Path, TeacherTraining]:
    """The recipe, the teacher's folder and the record of a short training on a quarter of the drawings."""
    home = tmp_path_factory.mktemp("joined")
    data = tiny.image_folder(home / "data")
    lines = (data / "metadata.jsonl").read_text("utf-8").splitlines()[::4]
    rows = [
        json.loads(line) | {"split": ("train", "train", "val", "test")[number % 4]} for number, line in enumerate(lines)
    ]
    for drawing in set(data.glob("*.png")) - {data / row["file_name"] for row in rows}:
        drawing.unlink()  # without a caption it would be an unpaired train picture
    (data / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    values = {"data": {"format": "imagefolder", "path": str(data)}, "steps": 60, "hidden": 64, "batch_size": 4}
    config = parse(TeacherConfig, values | {"name": "joined", "cache": str(home / "cache")}, "the test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))
        return config, home / "teacher", train_teacher(config, home / "teacher")


def test_it_finds_the_pairs_that_it_was_trained_on(joined: tuple[TeacherConfig, Path, TeacherTraining]) -> None:
    _, folder, record = joined
    assert evaluate(folder, None, "train", "onnx").recall["t2i"]["1"] > 75
    assert json.loads((folder / "training.json").read_text("utf-8")) == record.model_dump(mode="json")
    for split, found in (("val", record.val), ("test", record.test)):
        assert found is not None
        assert found.n == 3
        assert evaluate(folder, None, split, "onnx").recall == found.recall


def test_its_folder_loads_as_a_frozen_teacher(joined: tuple[TeacherConfig, Path, TeacherTraining]) -> None:
    teacher = load_teacher(str(joined[1]))
    assert isinstance(teacher, JoinedTeacher)
    assert (teacher.name, teacher.embed_dim) == ("joined", 384)
    assert not teacher.train().training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    embedded = teacher.embed_texts(["red disc", "", "a much longer text " * 30])
    assert torch.allclose(embedded.norm(dim=1), torch.ones(3), atol=1e-5)
    assert teacher.token_table().shape == (30522, 384)


def test_the_cache_it_leaves_is_what_it_says_itself(
    joined: tuple[TeacherConfig, Path, TeacherTraining], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder, _ = joined
    pairs, teacher = read_pairs(config.data), load_teacher(str(folder))
    pictures = teacher.embed_pictures([decode(pairs.read(row)) for row in range(len(pairs))]).numpy()
    texts = teacher.embed_texts([text for captions in pairs.captions for text in captions]).numpy()
    monkeypatch.setattr(JoinedTeacher, "embed_pixels", lambda *_: pytest.fail("embedded again"))
    monkeypatch.setattr(JoinedTeacher, "embed_texts", lambda *_: pytest.fail("embedded again"))
    cache = teacher_cache(pairs, teacher, config.cache, 1, config.data.max_bad, config.data.max_pixels)
    assert np.allclose(cache.pictures(np.arange(len(pairs))), pictures, atol=1e-5)
    assert np.allclose(cache.texts(np.arange(len(texts))), texts, atol=1e-5)


def test_damaged_weights_are_named_in_a_line(
    joined: tuple[TeacherConfig, Path, TeacherTraining], tmp_path: Path
) -> None:
    folder = tmp_path / "teacher"
    folder.mkdir()
    for path in joined[1].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5000])
    wanted = r"teacher .*: its model\.safetensors does not fit its config\.json and text\.json: "
    with pytest.raises(UserError, match=wanted) as error:
        load_teacher(str(folder))
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("Make it again: conaclip-edge train-teacher")
