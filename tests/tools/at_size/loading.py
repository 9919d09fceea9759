"""How fast pictures reach the teacher and the student: by worker processes, and decoded inside the step.

    python -m tests.tools.at_size.loading runs/demo/teacher --out distill/results/loading.json

JPEGs of 816 x 612 pixels (half a megapixel) with the spectrum and the entropy of photographs are made first. Rounds of
both ways alternate, so that a busy minute of the machine meets both. Pictures are too many to be kept, as at size.
Torch computes in one thread. Seconds are of the wall and of the processor, which knows nothing of what else runs; those
of the process that trains and of its workers are apart.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.data import pixel_cache
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.distill import trainer as training
from conaclip_edge.distill.trainer import Trainer
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.system.files import write_json
from conaclip_edge.teacher_cache.store import teacher_cache

SIZE = (816, 612)
QUALITY = 90
WARMUP = 2


def photograph(seed: int) -> bytes:
    """Encode a picture whose spectrum falls as that of photographs, one over frequency, in correlated colours."""
    random = np.random.default_rng(seed)
    width, height = SIZE
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    planes = []
    for _ in range(3):
        phases = np.exp(2j * np.pi * random.random(frequency.shape))
        planes.append(np.fft.irfft2(phases / frequency**1.1, (height, width)))
    bright, red, blue = ((plane - plane.mean()) / plane.std() for plane in planes)
    colours = 128 + 50 * np.stack([bright + 0.3 * red, bright, bright + 0.3 * blue], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def picture_folder(folder: Path, count: int) -> int:
    """Write an imagefolder of photographs; returns the mean size of a file in bytes."""
    folder.mkdir(parents=True)
    lines, sizes = [], []
    for number in range(count):
        data = photograph(number)
        (folder / f"{number:05d}.jpg").write_bytes(data)
        sizes.append(len(data))
        split = "val" if number % 16 == 15 else "train"
        lines.append(json.dumps({"file_name": f"{number:05d}.jpg", "text": f"picture {number}", "split": split}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return round(statistics.mean(sizes))


class Spent(NamedTuple):
    """Seconds so far: of the wall, of this process's processor time, and of its finished children's."""

    wall: float
    own: float
    children: float

    def since(self, before: Spent) -> Spent:
        return Spent(*(now - then for now, then in zip(self, before, strict=True)))


def spent() -> Spent:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(time.perf_counter(), time.process_time(), children.ru_utime + children.ru_stime)


def embedded(teacher: Teacher, pairs: Pairs, workers: int, cache: Path) -> dict[str, float]:
    """Let the teacher embed all pictures; return what a picture took."""
    shutil.rmtree(cache, ignore_errors=True)
    before = spent()
    teacher_cache(pairs, teacher, cache, workers=workers)
    took = spent().since(before)
    return {
        "teacher pictures/s": len(pairs) / took.wall,
        "teacher ms/picture": 1000 * took.own / len(pairs),
        "teacher's workers ms/picture": 1000 * took.children / len(pairs),
    }


def trained(config: DistillConfig, workers: int, out: Path) -> dict[str, float]:
    """Train; return what a picture took, and the share of a step in forward (losses included) and backward."""
    AcceleratorState._reset_state(reset_partial_state=True)
    settings = config.train.model_copy(update={"workers": workers})
    trainer = Trainer.prepare(config.model_copy(update={"train": settings}), out)
    begun: list[Spent] = []
    computing: list[Spent] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any) -> Any:
            before = spent()
            result = function(*given)
            took = spent().since(before)
            computing[-1] = Spent(*(one + other for one, other in zip(computing[-1], took, strict=True)))
            return result

        return wrapped

    batches = trainer._batches

    def counted(numbers: range) -> Iterator[Any]:
        made = batches(numbers)
        for _ in numbers:  # a step begins when it asks for its batch
            begun.append(spent())
            computing.append(Spent(0.0, 0.0, 0.0))
            yield next(made)

    trainer._batches = counted  # type: ignore[method-assign]
    trainer.embed = timed(trainer.embed)  # type: ignore[method-assign]
    trainer.accelerator.backward = timed(trainer.accelerator.backward)
    compute, before = training.graph.compute, spent()
    training.graph.compute = timed(compute)
    try:
        trainer.train()
    finally:
        training.graph.compute = compute
    whole, batch = begun[-1].since(begun[WARMUP]), config.train.batch_size
    count, parts = batch * (len(begun) - 1 - WARMUP), computing[WARMUP:-1]
    return {
        "student pictures/s": count / whole.wall,
        "student ms/picture": 1000 * whole.own / count,
        "student's workers ms/picture": 1000 * spent().since(before).children / (batch * len(begun)),
        "share of forward and backward, wall": sum(part.wall for part in parts) / whole.wall,
        "share of forward and backward, processor": sum(part.own for part in parts) / whole.own,
    }


def main() -> None:
    """Measure and write a table as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="mobile")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    pixel_cache.LIMIT_BYTES = 0
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as scratch:
        home = Path(scratch)
        size = picture_folder(home / "data", given.pictures)
        config = DistillConfig.model_validate(
            {
                "data": {"format": "imagefolder", "path": str(home / "data")},
                "teacher": str(given.teacher),
                "student": {"preset": given.preset, "init_text": "none"},
                "train": {
                    "steps": given.steps,
                    "batch_size": given.batch,
                    "eval_every": 10**6,
                    "threads": 1,
                    "unpaired": 0,
                },
                "cache": str(home / "cache"),
            }
        )
        pairs, teacher = read_pairs(config.data), load_teacher(config.teacher)
        ways = {"inside the step": 0, "by the loader": given.workers}
        found: dict[str, dict[str, list[float]]] = {name: {} for name in ways}
        for number in range(given.rounds):
            for name, workers in list(ways.items())[:: 1 if number % 2 else -1]:
                figures = embedded(teacher, pairs, workers, home / "teacher-cache")
                figures |= trained(config, workers, home / "out")
                for what, value in figures.items():
                    found[name].setdefault(what, []).append(round(value, 4))
    write_json(
        given.out,
        {
            "command": "python -m tests.tools.at_size.loading TEACHER",
            "environment": environment().model_dump(mode="json"),
            "threads": torch.get_num_threads(),
            "pictures": {"count": given.pictures, "size": SIZE, "jpeg_quality": QUALITY, "bytes": size},
            "student": given.preset,
            "batch": given.batch,
            "steps": given.steps,
            "workers": given.workers,
            "rounds": found,
            "median": {
                name: {what: statistics.median(each) for what, each in of.items()} for name, of in found.items()
            },
        },
    )


if __name__ == "__main__":
    main()
