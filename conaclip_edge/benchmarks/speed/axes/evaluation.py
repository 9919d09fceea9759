"""Axis evaluation: ranking 5,000 pictures against 25,000 captions, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process, resident
from conaclip_edge.benchmarks.measure.stages import random_index
from conaclip_edge.benchmarks.schema.speed import Finding
from conaclip_edge.benchmarks.schema.spread import Spread
from conaclip_edge.benchmarks.speed.two_clocks import rounds
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.evaluation.recall import ranks

PICTURES, CAPTIONS, WIDTH = 5_000, 5, 512
NOTE = f"{PICTURES} pictures x {PICTURES * CAPTIONS} captions, {WIDTH}-d random unit vectors, 1 thread"


def measure(config: SpeedConfig, call: Callable[..., Any] = in_fresh_process) -> list[Finding]:
    """Time `ranks` and read its memory above what the process held before the embeddings were there.

    Args:
        config: the suite.
        call: calls a function with arguments in a fresh process.
    """
    cpu, wall, megabytes = call(run, PICTURES, CAPTIONS, config.rounds, config.seed)
    return [
        Finding(
            axis="evaluation",
            what="ranks",
            unit="s",
            value=spread(cpu),
            wall=spread(wall),
            n=len(cpu),
            bar=10,
            note=NOTE,
        ),
        Finding(
            axis="evaluation",
            what="peak memory above the start, embeddings counted",
            unit="MB",
            value=spread([megabytes]),
            n=1,
            bar=500,
            note=NOTE,
        ),
    ]


def run(
    pictures: int, captions: int, count: int, seed: int, rank: Callable[..., object] = ranks
) -> tuple[list[float], list[float], float]:
    """Rank random unit vectors `count` times.

    Args:
        pictures: how many.
        captions: of each picture.
        count: rounds.
        seed: of the vectors.
        rank: ranks pictures and captions, given their vectors and the picture of each caption.

    Returns:
        Seconds of processor and of wall time of each round, and the peak memory in MB (10^6 bytes) above the start.
    """
    before, _ = resident()
    caption_to_image = np.repeat(np.arange(pictures), captions)
    images, texts = random_index(pictures, WIDTH, seed), random_index(len(caption_to_image), WIDTH, seed + 1)
    times = rounds({"ranks": lambda _: rank(images, texts, caption_to_image)}, count, seed, warmup=1)["ranks"]
    return times.cpu.tolist(), times.wall.tolist(), (resident()[1] - before) / 1e6


def spread(values: list[float]) -> Spread:
    """Summarise values by median and quartiles."""
    q25, median, q75 = (float(value) for value in np.percentile(values, [25, 50, 75]))
    return Spread(median=median, q25=q25, q75=q75)
