"""Timing in interleaved rounds: a busy minute of the machine slows all that is compared, never one side of a ratio."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from conaclip_edge.benchmarks.schema.row import Latency, Tower
from conaclip_edge.benchmarks.schema.spread import Spread
from conaclip_edge.config.benchmark import RoundsConfig

Call = Callable[[int], object]  # runs once on input number k


def interleave(
    calls: Mapping[str, Call],
    inputs: int,
    config: RoundsConfig,
    seed: int = 0,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, np.ndarray]:
    """Time calls in interleaved rounds: in every round each runs once, on the same input, in a new random order.

    Inputs take turns, and every one gets the same number of rounds. After each turn of all inputs the timing ends when
    every median is known well enough, or when time or rounds are used up; `min_rounds` are always done.

    Args:
        calls: name -> function of the input's number.
        inputs: how many inputs there are.
        config: number of rounds, time, precision.
        seed: of the order.
        clock: gives nanoseconds.

    Returns:
        name -> milliseconds [rounds]; round r was on input r % inputs.
    """
    order = np.random.default_rng(seed)
    names = list(calls)
    for number in range(config.warmup):
        for name in names:
            calls[name](number % inputs)
    times: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        started = clock()
        for number in range(max(config.max_rounds, config.min_rounds)):
            if number % inputs == 0 and number >= config.min_rounds:
                spent = (clock() - started) / 1e9
                if spent > config.seconds or all(
                    median_error(np.asarray(values), inputs) <= config.precision for values in times.values()
                ):
                    break
            for position in order.permutation(len(names)).tolist():
                name = names[position]
                call = calls[name]
                before = clock()
                call(number % inputs)
                times[name].append((clock() - before) / 1e6)
    finally:
        if collecting:
            gc.enable()
    return {name: np.asarray(values) for name, values in times.items()}


def without_input_differences(times: np.ndarray, inputs: int) -> np.ndarray:
    """Take out what differs between inputs (a longer text takes longer): what is left is noise.

    Args:
        times: [rounds], round r on input r % inputs.
        inputs: how many inputs took turns.

    Returns:
        Times over the median of their input, times the median of all.
    """
    input_of = np.arange(len(times)) % inputs
    medians = np.asarray([np.median(times[input_of == number]) for number in range(min(inputs, len(times)))])
    return np.asarray(times / medians[input_of] * np.median(times))


def median_error(times: np.ndarray, inputs: int) -> float:
    """Return half the 95 % interval of the median over the median, by order statistics."""
    ordered = np.sort(without_input_differences(times, inputs))
    count = len(ordered)
    reach = 0.98 * np.sqrt(count)
    low, high = max(0, int(np.floor(count / 2 - reach))), min(count - 1, int(np.ceil(count / 2 + reach)))
    return float((ordered[high] - ordered[low]) / 2 / np.median(ordered))


def summarise(
    times: np.ndarray,
    inputs: int,
    noise_limit: float,
    *,
    tower: Tower,
    threads: int,
    texts: Literal["captions", "full context"] | None,
    warmup: int,
    batch: int = 1,
    ratio_to: Mapping[str, Spread] | None = None,
) -> Latency:
    """Summarise the times of a tower.

    Args:
        times: milliseconds [rounds].
        inputs: how many inputs took turns.
        noise_limit: noise above which times count as noisy.
        tower: which tower was timed.
        threads: CPU threads.
        texts: how long the texts were; None for pictures.
        warmup: untimed calls before.
        batch: pictures or texts per call.
        ratio_to: row -> time over that row's time in the same round.
    """
    p25, p50, p75, p90, p95, p99 = (float(value) for value in np.percentile(times, [25, 50, 75, 90, 95, 99]))
    q25, q75 = np.percentile(without_input_differences(times, inputs), [25, 75])
    noise = float((q75 - q25) / p50)
    return Latency(
        tower=tower,
        threads=threads,
        batch=batch,
        texts=texts,
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        mean=float(times.mean()),
        std=float(times.std(ddof=1)),
        n=len(times),
        warmup=warmup,
        iqr=p75 - p25,
        noise=noise,
        noisy=noise > noise_limit,
        per_second=1000 * batch / p50,
        quantiles=tuple(float(value) for value in np.percentile(times, np.arange(0, 101, 5))),
        ratio_to=dict(ratio_to or {}),
    )


def ratio(times: np.ndarray, reference: np.ndarray) -> Spread:
    """Summarise the ratios of two rows' times, round by round."""
    q25, median, q75 = (float(value) for value in np.percentile(times / reference, [25, 50, 75]))
    return Spread(median=median, q25=q25, q75=q75)
