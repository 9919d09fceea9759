"""The two towers of a bundle, compared with what a user would have without conaclip-edge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from conaclip_edge.benchmarks.schema.speed import Finding
from conaclip_edge.benchmarks.speed.two_clocks import Times, over, rounds
from conaclip_edge.runtime.open_tower import open_tower

Call = Callable[[int], object]


def calls(files: Mapping[str, Path], inputs: Mapping[str, Sequence[np.ndarray]]) -> dict[str, Call]:
    """Load files with one thread each and return what runs them on the input of a round.

    Args:
        files: name -> exported tower.
        inputs: name -> inputs that take turns.
    """
    towers = {name: open_tower(path) for name, path in files.items()}

    def call(name: str) -> Call:
        tower, given = towers[name], inputs[name]
        return lambda number: tower(given[number % len(given)])

    return {name: call(name) for name in files}


def measure(
    axis: str,
    files: Mapping[str, Path],
    inputs: Mapping[str, Sequence[np.ndarray]],
    bars: Sequence[tuple[str, str, float | None]],
    count: int,
    seed: int,
) -> tuple[list[Finding], dict[str, Times]]:
    """Time files side by side and take the ratios that have bars.

    Args:
        axis: name of the axis.
        files: name -> exported tower.
        inputs: name -> inputs that take turns, the same pictures or texts for all.
        bars: (name, name of what it is compared with, largest ratio allowed or None).
        count: rounds.
        seed: of the order.

    Returns:
        One finding per bar, and the times of all files.
    """
    times = rounds(calls(files, inputs), count, seed)
    findings = []
    for name, other, bar in bars:
        cpu, wall = over(times[name], times[other])
        findings.append(Finding(axis=axis, what=f"{name} / {other}", value=cpu, wall=wall, n=count, bar=bar))
    return findings, times
