"""Several shards: every epoch deals each picture once, in an order of its own, the same after a kill in the middle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.distill.run_folder import RunFolder
from conaclip_edge.distill.sampler import Sampler
from conaclip_edge.distill.trainer import distill
from conaclip_edge.errors import UserError
from tests.helpers import tiny

BATCH, SHARDS = 8, 3


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(settings, tmp_path):
    """A recipe on three shards of sixteen pictures each; the pixels are too many to be kept."""
    write_shards(tmp_path / "shards")
    data = {"format": "webdataset", "path": str(tmp_path / "shards"), "val_fraction": 0.2, "test_fraction": 0}
    return settings(data=data, steps=11, batch_size=BATCH, eval_every=4).model_copy(
        update={"cache": tmp_path / "cache"}
    )


def write_shards(folder: Path, shards: int = SHARDS) -> None:
    import io
    import tarfile

    names = [f"{colour} {shape} {place}" for colour in tiny.COLOURS for shape in tiny.SHAPES for place in tiny.PLACES]
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for number, name in enumerate(names[shard::shards]):
                picture = io.BytesIO()
                tiny.drawing(*name.split()).save(picture, "JPEG", quality=95)
                for suffix, content in (("jpg", picture.getvalue()), ("txt", name.encode())):
                    info = tarfile.TarInfo(f"{shard:05d}{number:04d}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def epoch(sampler: Sampler, number: int, steps: int) -> list[int]:
    return [row for step in range(number * steps, (number + 1) * steps) for row in sampler.rows(step).pictures.tolist()]


def test_an_epoch_is_a_permutation_and_the_next_one_another(config):
    pairs = read_pairs(config.data)
    rows = pairs.rows("train")[:32]
    first_text = np.concatenate([[0], np.cumsum([len(texts) for texts in pairs.captions])])
    sampler, again = (Sampler(rows, rows[:0], first_text, BATCH, 0.0, 1, 5) for _ in range(2))
    orders = [epoch(sampler, number, len(rows) // BATCH) for number in range(3)]
    assert all(sorted(order) == rows.tolist() for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    # a resumed run asks for a step in the middle first
    assert again.rows(5).pictures.tolist() == orders[1][BATCH : 2 * BATCH]


@pytest.mark.parametrize(
    ("kept", "workers"),
    [(True, None), (False, 0), (False, 2)],
    ids=["resized pictures kept", "decoded in the step", "decoded by workers"],
)
def test_a_run_that_is_killed_in_the_middle_of_an_epoch_ends_with_the_same_weights(config, monkeypatch, kept, workers):
    if not kept:
        monkeypatch.setattr("conaclip_edge.data.pixel_cache.LIMIT_BYTES", 0)
    settings = config.train.model_copy(update={"workers": workers, "teacher_views": 2})
    config = config.model_copy(update={"train": settings})
    distill(config, Path("whole"))
    log = RunFolder.log

    def dies(self, line):
        if line["step"] == 6:
            raise MemoryError
        log(self, line)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "log", dies)
        with pytest.raises(MemoryError):
            distill(config, Path("torn"))
    distill(config, Path("torn"), resume=True)
    assert Path("torn/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    steps = [json.loads(line)["step"] for line in Path("torn/training.jsonl").read_text("utf-8").splitlines()]
    assert steps == sorted(steps)


def test_who_decodes_pictures_changes_no_weight(config, monkeypatch):
    def weights(name, limit, workers):
        monkeypatch.setattr("conaclip_edge.data.pixel_cache.LIMIT_BYTES", limit)
        settings = config.train.model_copy(update={"steps": 4, "workers": workers, "teacher_views": 2})
        distill(config.model_copy(update={"train": settings}), Path(name))
        return Path(name, "model.safetensors").read_bytes()

    assert weights("kept", 10**9, None) == weights("step", 0, 0) == weights("workers", 0, 2)


@pytest.mark.parametrize("change", ["added", "removed", "changed"])
def test_shards_that_change_are_another_data_set(config, tmp_path, change):
    before = read_pairs(config.data)
    if change == "added":
        write_shards(tmp_path / "more", 1)
        (tmp_path / "more/00000.tar").rename(tmp_path / "shards/00009.tar")
    elif change == "removed":
        (tmp_path / "shards/00001.tar").unlink()
    else:
        write_shards(tmp_path / "shards", 4)
        (tmp_path / "shards/00003.tar").unlink()
    assert read_pairs(DataConfig(**config.data.model_dump())).fingerprint != before.fingerprint


def test_a_run_is_not_resumed_on_other_shards(config, tmp_path, monkeypatch):
    save = RunFolder.save_state

    def dies(self, *args):
        save(self, *args)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_state", dies)
        with pytest.raises(MemoryError):
            distill(config, Path("out"))
    (tmp_path / "shards/00001.tar").unlink()
    with pytest.raises(UserError, match=r"out\.run was started with other data"):
        distill(config, Path("out"), resume=True)
