from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conaclip_edge.benchmarks.measure.rounds import (
    interleave,
    median_error,
    ratio,
    summarise,
    without_input_differences,
)
from conaclip_edge.benchmarks.schema.row import Latency
from conaclip_edge.config.benchmark import RoundsConfig


class Machine:
    """A clock and calls that take known times on it, on a machine whose speed may change while it runs."""

    def __init__(self, slowdown=lambda now: 1.0):
        self.now = 0.0  # ns
        self.slowdown = slowdown
        self.log: list[tuple[str, int]] = []

    def clock(self) -> int:
        return round(self.now)

    def call(self, name: str, milliseconds: float, per_input: float = 0.0):
        def run(number: int) -> None:
            self.log.append((name, number))
            self.now += 1e6 * (milliseconds + per_input * number) * self.slowdown(self.now)

        return run


def rounds(**keys) -> RoundsConfig:
    return RoundsConfig(**{"warmup": 2, "min_rounds": 8, "max_rounds": 64, "seconds": 1e6, "precision": 1e-9} | keys)


def summary(times: np.ndarray, inputs: int = 1, batch: int = 1) -> Latency:
    return summarise(times, inputs, 0.15, tower="image", threads=1, texts=None, warmup=0, batch=batch)


def test_a_machine_that_slows_down_shifts_times_but_not_ratios():
    machine = Machine(lambda now: 1 + now / 4e9)
    calls = {"fast": machine.call("fast", 2), "slow": machine.call("slow", 6)}
    found = interleave(calls, 4, rounds(), clock=machine.clock)
    # what two separate measurements, one after the other, would have given
    apart = Machine(lambda now: 1 + now / 4e9)
    alone = [
        interleave({name: apart.call(name, ms)}, 4, rounds(), clock=apart.clock)
        for name, ms in (("slow", 6), ("fast", 2))
    ]
    naive = np.median(alone[0]["slow"]) / np.median(alone[1]["fast"])
    assert found["slow"][-8:].mean() > 1.05 * found["slow"][:8].mean()
    assert ratio(found["slow"], found["fast"]).median == pytest.approx(3, rel=0.01)
    assert abs(naive - 3) > 0.15


def test_every_round_runs_each_row_once_on_the_same_input():
    machine = Machine()
    interleave({name: machine.call(name, 1) for name in "abc"}, 4, rounds(min_rounds=16), clock=machine.clock)
    timed = machine.log[2 * 3 :]
    assert len(timed) == 16 * 3
    for number in range(16):
        here = timed[3 * number : 3 * number + 3]
        assert sorted(name for name, _ in here) == ["a", "b", "c"]
        assert {number_of_input for _, number_of_input in here} == {number % 4}


def test_no_row_always_runs_behind_the_same_other_row():
    machine = Machine()
    interleave({name: machine.call(name, 1) for name in "abc"}, 1, rounds(min_rounds=40), clock=machine.clock)
    names = [name for name, _ in machine.log[6:]]
    before_b = {names[number - 1] for number in range(1, len(names)) if names[number] == "b"}
    assert before_b >= {"a", "c"}


def test_steady_times_end_after_the_least_number_of_rounds():
    machine = Machine()
    found = interleave({"a": machine.call("a", 3)}, 4, rounds(precision=0.01), clock=machine.clock)
    assert len(found["a"]) == 8


def test_time_that_is_used_up_ends_at_the_end_of_a_turn_of_all_inputs():
    machine = Machine()
    noise = np.random.default_rng(0)
    calls = {"a": lambda number: machine.call("a", noise.uniform(1, 9))(number)}
    found = interleave(calls, 4, rounds(seconds=0.1, max_rounds=400), clock=machine.clock)
    assert len(found["a"]) % 4 == 0
    assert 8 < len(found["a"]) < 60


def test_fewer_rounds_than_the_least_are_never_done_however_slow():
    machine = Machine()
    noise = np.random.default_rng(0)
    calls = {"a": lambda number: machine.call("a", noise.uniform(100, 900))(number)}
    assert len(interleave(calls, 4, rounds(seconds=0.001), clock=machine.clock)["a"]) == 8


def test_longer_inputs_are_no_noise():
    machine = Machine()
    found = interleave({"a": machine.call("a", 1, per_input=2)}, 4, rounds(min_rounds=32), clock=machine.clock)
    assert found["a"].std() > 1
    assert summary(found["a"], inputs=4).noise == pytest.approx(0, abs=1e-9)
    assert median_error(found["a"], 4) == pytest.approx(0, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(
    inputs=st.integers(1, 5),
    turns=st.integers(1, 6),
    scales=st.lists(st.floats(0.1, 50), min_size=5, max_size=5),
    seed=st.integers(0, 99),
)
def test_levelling_does_not_depend_on_how_long_each_input_takes(inputs, turns, scales, seed):
    noise = np.random.default_rng(seed).uniform(0.9, 1.1, inputs * turns)
    times = noise * np.tile(scales[:inputs], turns)
    shares = without_input_differences(times, inputs) / np.median(times)
    expected = without_input_differences(noise, inputs) / np.median(noise)
    np.testing.assert_allclose(shares, expected, rtol=1e-9)


def test_a_summary_has_the_percentiles_of_its_times():
    times = np.arange(1, 102, dtype=float)[::-1]
    found = summary(times, batch=8)
    assert [found.p50, found.p90, found.p95, found.p99, found.mean] == [51, 91, 96, 100, 51]
    assert found.iqr == 50
    assert found.noise == pytest.approx(50 / 51)
    assert found.noisy
    assert found.n == 101
    assert found.per_second == pytest.approx(8 * 1000 / 51)
    assert found.std == pytest.approx(np.sqrt(sum((value - 51) ** 2 for value in times) / 100))
    assert found.quantiles[0] == 1
    assert found.quantiles[20] == 101


def test_the_median_is_known_better_the_more_rounds_there_are():
    noise = np.random.default_rng(0).normal(1, 0.1, 4096)
    errors = [median_error(noise[:count], 1) for count in (16, 256, 4096)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_a_ratio_is_taken_round_by_round():
    busy = np.asarray([1.0, 1.0, 10.0, 10.0, 1.0])
    assert ratio(2 * busy, busy).model_dump() == {"median": 2, "q25": 2, "q75": 2}
