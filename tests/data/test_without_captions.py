"""Data without captions: the terms that look at the teacher train, and what cannot be measured is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conaclip_edge.distill.trainer import distill
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
        UserError, match=r"^data set 'imagefolder:data' has no captions, and every term .* \(SI-ST/infonce\)\. Add capt"
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
