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


def both_clocks() -> tuple[float, float]:
    """Return seconds by processor and by wall clock."""
    return time.process_time(), time.perf_counter()


def rounds(
    calls: Mapping[str, Callable[[int], object]],
    count: int,
    seed: int = 0,
    warmup: int = 2,
    clocks: Callable[[], tuple[float, float]] = both_clocks,
) -> dict[str, Times]:
    """Run each call once per round, in a new random order, after `warmup` untimed rounds.

    Args:
        calls: name -> function of the round's number, so that a round has the same input for all.
        count: rounds.
        seed: of the order.
        warmup: untimed rounds.
        clocks: gives seconds by processor and by wall clock.
    """
    order, names = np.random.default_rng(seed), list(calls)
    cpu: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warmup, count):
        for position in order.permutation(len(names)).tolist():
            name = names[position]
            cpu_before, wall_before = clocks()
            calls[name](max(number, 0))
            cpu_after, wall_after = clocks()
            if number >= 0:
                cpu[name].append(cpu_after - cpu_before)
                wall[name].append(wall_after - wall_before)
    return {name: Times(np.asarray(cpu[name]), np.asarray(wall[name])) for name in names}


Timer = Callable[..., dict[str, Times]]  # `rounds`, or what a test knows the times of


def over(times: Times, reference: Times) -> tuple[Spread, Spread]:
    """Return the ratios of two calls' times, round by round: of processor time and of wall time."""
    return ratio(times.cpu, reference.cpu), ratio(times.wall, reference.wall)
