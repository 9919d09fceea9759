"""One small checkpoint with its data for all tests that need a whole export."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.export_bundle import export_bundle
from tests.helpers.bar_pictures import write_checkpoint, write_pictures
from tests.helpers.made_once import MadeOnce
from tests.helpers.stand_in_exporter import StandIn


@pytest.fixture(scope="session")
def bars(made_once: MadeOnce) -> Path:
    """A folder with data/ and the checkpoint student/; tests change neither."""
    torch.set_num_threads(1)
    return made_once("bars", lambda home: write_checkpoint(home / "student", write_pictures(home / "data")))


@pytest.fixture(scope="session")
def shipped(bars: Path, made_once: MadeOnce) -> Path:
    """A bundle of all targets in int8, made by the command line; tests change nothing in it."""
    return made_once("shipped", lambda home: ship(bars / "student", home / "bundle")) / "bundle"


def ship(student: Path, bundle: Path, hashes: int = 1) -> None:
    """Export a student to all targets, by the command line in a process of its own.

    Args:
        student: the checkpoint.
        bundle: that is made.
        hashes: seed of Python's hashes, which decide the order of sets.
    """
    # random towers of few channels, which int8 hurts more than trained ones
    command = ["export", student, "--target", "all", "--out", bundle, "--set", "min_cosine=0.99"]
    called = [sys.executable, "-m", "conaclip_edge.cli.main", *map(str, command)]
    environment = os.environ | {"PYTHONHASHSEED": str(hashes)}
    done = subprocess.run(called, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def exported(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StandIn]:
    """A bundle of two targets in fp16, and the exporter that made it; tests change neither."""
    made, folder = StandIn(), tmp_path_factory.mktemp("exported") / "bundle"
    targets = [ExportConfig(target="onnx", precision="fp16"), ExportConfig(target="coreml", precision="fp16")]
    with pytest.MonkeyPatch.context() as patch:
        made.install(patch)
        export_bundle(bars / "student", targets, folder, jobs=0)
    return folder, made


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """An exporter and its runtime that take no time, in place of all real ones; its towers can be given faults."""
    made = StandIn()
    made.install(monkeypatch)
    return made


@pytest.fixture(scope="module")
def no_other_delegates() -> Iterator[None]:
    """Leave out of ExecuTorch's notes what other delegates would take, a third of an export's time.

    That is tested in test_executorch_nodes.py, and that an export notes it, in test_end_to_end.py.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("conaclip_edge.export.executorch.export.executorch_accelerators", lambda *_: ())
        yield
