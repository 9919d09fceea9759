"""Data without captions or without pairs: terms that look at the teacher train, and what is not measured is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from conaclip_edge.data.text_file import read_texts
from conaclip_edge.distill.trainer import distill
from conaclip_edge.distill.training_data import training_data
from conaclip_edge.errors import UserError
from tests.helpers import tiny


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(name="bare")
def _bare(tmp_path: Path) -> dict[str, Any]:
    """The data section of pictures alone: no captions, no splits."""
    folder = tiny.image_folder(tmp_path / "data")
    (folder / "metadata.jsonl").unlink()
    return {"path": str(folder), "format": None, "max_bad": 0.05}


def test_pictures_alone_train_a_student_and_what_is_not_measured_is_said(
    settings: Any, bare: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    terms = [{"edge": "inter-ss", "loss": "infonce"}, {"edge": "intra-ts", "loss": "fd"}]
    terms += [{"edge": "inter-ss", "loss": "kl", "temperature": 0.1}]
    config = settings(steps=3, data=bare, graph={"preset": None, "terms": terms})
    record = distill(config, Path("out"))
    said = capsys.readouterr().err
    assert "imagefolder:data: train 28 unpaired, val 10 unpaired, test 10 unpaired; broken 0." in said
    assert "has no captions. The student learns the teacher's answers for the pictures and for 12,000 phrases" in said
    assert "are left out (SI-ST/infonce); recall of captions cannot be measured" in said
    assert record.val.of == "teacher pictures"
    assert record.data.labelled_pictures == 0
    assert [f"{term.edge}/{term.loss}" for term in record.graph] == ["SI-TI/fd", "ST-TT/fd", "SI-ST/kl"]
    lines = [json.loads(line) for line in Path("out/training.jsonl").read_text("utf-8").splitlines()]
    assert all(value > 0 for line in lines if "terms" in line for value in line["terms"].values())


def test_a_graph_of_pairs_alone_has_nothing_to_learn_from_pictures_alone(settings: Any, bare: dict[str, Any]) -> None:
    config = settings(steps=1, data=bare, graph={"preset": "infonce"})
    with pytest.raises(
        UserError,
        match=r"^data set 'imagefolder:data' has no captions, and every term .* \(SI-ST/infonce\)\. Add pairs",
    ):
        distill(config, Path("out"))
    assert not Path("out").exists()


def test_few_captioned_pictures_beside_unpaired_ones_train(
    settings: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny.image_folder(tmp_path / "data")
    lines = (folder / "metadata.jsonl").read_text("utf-8").splitlines()
    rows = [{key: value for key, value in json.loads(line).items() if key != "split"} for line in lines]
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows[::2]), "utf-8")
    record = distill(settings(steps=1, data={"path": str(folder), "format": None}), Path("out"))
    said = capsys.readouterr().err
    assert "train 12 captioned + 24 unpaired, val 6 captioned, test 6 captioned; broken 0." in said
    assert (record.data.train_pictures, record.data.labelled_pictures, record.val.of) == (36, 12, "captions")


WITHOUT_PAIRS = [
    {"edge": "inter-ss", "loss": "infonce"},
    {"edge": "intra-ts", "loss": "fd"},
    {"edge": "inter-ss", "loss": "kl", "temperature": 0.1},
]


def test_captions_that_are_paired_with_no_picture_teach_apart(
    settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(steps=2, data={"labelled": 0}, graph={"preset": None, "terms": WITHOUT_PAIRS})
    record = distill(config, Path("out"))
    said = capsys.readouterr().err
    assert (
        "data: data.labelled is 0. The student learns the teacher's answers for the pictures and for their captions "
        "apart; the terms that need pairs are left out (SI-ST/infonce)."
    ) in said
    assert (record.data.labelled_pictures, record.val.of) == (0, "captions")
    assert [f"{term.edge}/{term.loss}" for term in record.graph] == ["SI-TI/fd", "ST-TT/fd", "SI-ST/kl"]
    lines = [json.loads(line) for line in Path("out/training.jsonl").read_text("utf-8").splitlines()]
    assert all(value > 0 for line in lines if "terms" in line for value in line["terms"].values())


def test_texts_of_a_file_stand_in_for_captions(
    settings: Any, bare: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.txt").write_text("a lighthouse\n\na   boat\na lighthouse\n", "utf-8")
    config = settings(steps=1, data=bare, graph={"preset": None, "terms": WITHOUT_PAIRS})
    data = training_data(config.model_copy(update={"texts": Path("mine.txt")}))
    assert data.other_texts is not None
    assert data.other_texts.texts == ["a lighthouse", "a boat"]
    said = data.teacher.embed_texts(data.other_texts.texts)
    assert torch.allclose(torch.from_numpy(data.other_texts.embeddings), said, atol=1e-5)
    assert "for the pictures and for 2 texts of mine.txt; the terms" in capsys.readouterr().err
    Path("mine.txt").write_text("a lighthouse\n", "utf-8")
    assert training_data(config.model_copy(update={"texts": Path("mine.txt")})).sources() != data.sources()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^texts: cannot read mine\.txt \(No such file or directory\)\. Name a file with one text per line\.$"),
        (b" \n\n", r"^texts: mine\.txt holds no text\. Write one per line, or leave the key out\.$"),
        (b"a\xff", r"^texts: mine\.txt is not UTF-8 at byte 1\. Save it as UTF-8 text\.$"),
    ],
)
def test_a_file_without_texts_is_refused(content: bytes | None, message: str) -> None:
    if content is not None:
        Path("mine.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_texts(Path("mine.txt"), "texts")
