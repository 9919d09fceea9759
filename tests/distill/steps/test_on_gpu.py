"""On a GPU (CUDA or MPS) what the CPU gives, within a tolerance: `pytest -m gpu tests/distill/steps/test_on_gpu.py`.

Not part of the suite, which runs where there is none. docs/results/at-size.md says on which card it ran, and when.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from conaclip_edge.data import pixel_cache
from conaclip_edge.data.load import read_pairs
from conaclip_edge.distill.run_folder import RunFolder
from conaclip_edge.distill.trainer import Trainer, distill
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.teacher_cache.share import own_share
from conaclip_edge.teacher_cache.store import teacher_cache

pytestmark = pytest.mark.gpu

COSINE = {"fp32": 0.9999, "bf16": 0.995, "fp16": 0.999}


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that calls another as on a machine without a GPU."""

    def call(function: Any, *given: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setenv("ACCELERATE_USE_CPU", "1")
            AcceleratorState._reset_state(reset_partial_state=True)
            result = function(*given)
        AcceleratorState._reset_state(reset_partial_state=True)
        return result

    return call


def test_accelerate_finds_the_gpu() -> None:
    device = own_share().device
    print("device:", torch.cuda.get_device_name(device) if device.type == "cuda" else device)
    assert device.type != "cpu"


@pytest.mark.parametrize("precision", COSINE)
def test_the_teacher_s_embeddings(settings: Any, on_cpu: Any, tmp_path: Path, precision: Any) -> None:
    config = settings()
    pairs = read_pairs(config.data)
    wanted = on_cpu(teacher_cache, pairs, load_teacher(config.teacher), tmp_path / "cpu", 2)
    teacher = load_teacher(config.teacher).compute_on(own_share().device, precision)
    assert teacher.device.type != "cpu"
    found = teacher_cache(pairs, teacher, tmp_path / "gpu", 2)
    rows = np.arange(len(pairs))
    for view in range(2):
        assert (found.pictures(rows, view) * wanted.pictures(rows, view)).sum(axis=1).min() > COSINE[precision]
    texts = np.arange(wanted.first_text[-1])
    assert (found.texts(texts) * wanted.texts(texts)).sum(axis=1).min() > COSINE[precision]


@pytest.mark.parametrize("workers", [0, 2])
def test_one_step(settings: Any, on_cpu: Any, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(pixel_cache, "LIMIT_BYTES", 0)  # pictures pass through page-locked memory
    config = settings(steps=1, workers=workers, graph={"queue": 20})
    on_cpu(distill, config, Path("cpu"))
    distill(config, Path("gpu"))
    logs = [json.loads(Path(name, "training.jsonl").read_text("utf-8").splitlines()[1]) for name in ("cpu", "gpu")]
    assert logs[1]["loss"] == pytest.approx(logs[0]["loss"], rel=1e-3)
    assert logs[1]["gradient_norm"] == pytest.approx(logs[0]["gradient_norm"], rel=1e-2)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_resumed_run_ends_as_an_undisturbed_one(settings: Any, monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    config = settings(steps=6, eval_every=3, ema=0.9, bf16=bf16, graph={"queue": 20})
    distill(config, Path("whole"))
    save = RunFolder.save_state

    def dies(self: RunFolder, *given: Any) -> None:
        save(self, *given)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_state", dies)
        with pytest.raises(MemoryError):
            distill(config, Path("torn"))
    distill(config, Path("torn"), resume=True)
    whole, torn = (load_file(Path(name, "model.safetensors")) for name in ("whole", "torn"))
    for name, value in whole.items():
        assert torch.allclose(torn[name], value, rtol=1e-3, atol=1e-4), name


def test_queue_and_teacher_rows_stay_on_the_gpu(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.device] = []
    embed = Trainer.embed

    def watched(self: Trainer, *given: Any) -> Any:
        batch, scale = embed(self, *given)
        seen.extend(part.device for parts in batch.queue.values() for part in parts)
        seen.extend([batch.ti.device, batch.tt.device, batch.si.device])
        return batch, scale

    monkeypatch.setattr(Trainer, "embed", watched)
    distill(settings(steps=2, graph={"queue": 20}), Path("out"))
    assert {device.type for device in seen} == {own_share().device.type}
