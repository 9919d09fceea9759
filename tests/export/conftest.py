"""One small checkpoint with its data for all tests that need a whole export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from stand_in import StandIn
from worlds import write_checkpoint, write_pictures

from conaclip_edge.export import job, run, verify


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data/ and the checkpoint student/; tests change neither."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("export-bars")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(home / "cache"))
        write_checkpoint(home / "student", write_pictures(home / "data"))
        yield home


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """An exporter and its runtime that take no time, in place of all real ones; its towers can be given faults."""
    made = StandIn()
    for module in (job, run):
        monkeypatch.setattr(module, "exporter", lambda target: made.export)
    monkeypatch.setattr(job, "open_tower", made.open)
    monkeypatch.setattr(verify, "open_tower", made.open)
    return made
