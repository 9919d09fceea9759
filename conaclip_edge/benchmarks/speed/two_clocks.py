"""Rounds with two clocks: processor time, which other programs touch least, and wall time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from conaclip_edge.benchmarks.measure.rounds import ratio
from conaclip_edge.benchmarks.schema.spread import Spread


@dataclass(frozen=True)
class Times:
    """Seconds of each round, by processor and by wall clock."""

    cpu: np.ndarray
    wall: np.ndarray


def rounds(
    calls: Mapping[str, Callable[[int], object]], count: int, seed: int = 0, warmup: int = 2
) -> dict[str, Times]:
    """Run everything once a round, in a new random order each, after `warmup` untimed rounds.

    Args:
        calls: name -> function of the round's number, so that a round has the same input for all.
        count: rounds.
        seed: of the order.
        warmup: untimed rounds.
    """
    order, names = np.random.default_rng(seed), list(calls)
    cpu: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warmup, count):
        for place in order.permutation(len(names)).tolist():
            name = names[place]
            began, used = time.perf_counter(), time.process_time()
            calls[name](max(number, 0))
            used, began = time.process_time() - used, time.perf_counter() - began
            if number >= 0:
                cpu[name].append(used)
                wall[name].append(began)
    return {name: Times(np.asarray(cpu[name]), np.asarray(wall[name])) for name in names}


def over(times: Times, reference: Times) -> tuple[Spread, Spread]:
    """Return the ratios of two calls' times round by round: processor time, wall time."""
    return ratio(times.cpu, reference.cpu), ratio(times.wall, reference.wall)
