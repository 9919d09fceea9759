"""One exported student with its data and teacher for all tests that run a whole benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers import tiny
from tests.helpers.fixtures.made_once import MadeOnce


@pytest.fixture(scope="session")
def shop(made_once: MadeOnce) -> Path:
    """A folder with data/, teacher/, student/, bundle/ (ONNX int8) and comparison.json, as `demo` leaves them.

    The student was fitted to the val pairs, so that there is recall to lose; tests change nothing in it.
    """
    return made_once("shop", make_shop)


def make_shop(home: Path) -> None:
    """Write such a folder."""
    import torch

    from conaclip_edge.config.export import ExportConfig
    from conaclip_edge.export.export_bundle import export_bundle
    from tests.helpers.bar_pictures import write_checkpoint, write_pictures

    torch.set_num_threads(1)
    tiny.teacher_folder(home / "teacher")
    student = write_checkpoint(home / "student", write_pictures(home / "data"))
    record = json.loads((student / "training.json").read_text("utf-8"))
    record["recipe"]["teacher"] = str(home / "teacher")
    (student / "training.json").write_text(json.dumps(record), "utf-8")
    # so small a student loses more to int8 than a bar of real ones allows; the bar is not what is tested here
    export_bundle(student, [ExportConfig(target="onnx", min_cosine=0.9, min_relative_recall=0.5)], home / "bundle")
    recall = {way: {"1": 10.0, "5": 20.0, "10": 30.0} for way in ("t2i", "i2t")}
    row = {"mean": 20.0, "recall": recall}
    rows = {"teacher": row, **{name: row | {"mean_recall": [20.0]} for name in ("infonce", "motis", "conaclip")}}
    comparison = {"split": "test", "n": 8, "rows": rows}
    (home / "comparison.json").write_text(json.dumps(comparison), "utf-8")
