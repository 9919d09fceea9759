"""Axis start: `conaclip-edge --help` and a bare `import typer`, each in a fresh process."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from conaclip_edge.benchmarks.schema.speed import Finding
from conaclip_edge.benchmarks.speed.two_clocks import Times, over
from conaclip_edge.config.benchmark import SpeedConfig

# what the installed script does
HELP = [sys.executable, "-c", "from conaclip_edge.cli.main import main; main()", "--help"]
TYPER = [sys.executable, "-c", "import typer"]


def command_times(command: Sequence[str]) -> tuple[float, float]:
    """Run a command to its end; returns its seconds of processor time and of wall time."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall


def measure(config: SpeedConfig, run: Callable[[Sequence[str]], tuple[float, float]] = command_times) -> list[Finding]:
    """Start both once per round, in a new random order, and compare their times.

    Args:
        config: the suite.
        run: runs a command and gives its processor and wall time.
    """
    order = np.random.default_rng(config.seed)
    spent: list[list[tuple[float, float]]] = [[], []]
    for number in range(-1, config.rounds):
        for position in order.permutation(2).tolist():
            times = run((HELP, TYPER)[position])
            if number >= 0:  # the round before the first fills the disk's cache
                spent[position].append(times)
    (cpu, wall), (typer_cpu, typer_wall) = (np.asarray(times).T for times in spent)
    ratio, ratio_wall = over(Times(cpu, wall), Times(typer_cpu, typer_wall))
    return [
        Finding(
            axis="start",
            what="conaclip-edge --help / import typer",
            value=ratio,
            wall=ratio_wall,
            n=config.rounds,
            bar=2,
            note=f"{1000 * float(np.median(cpu)):.0f} ms and {1000 * float(np.median(typer_cpu)):.0f} ms of processor",
        )
    ]
