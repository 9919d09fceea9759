"""The learning rate over a run."""

from __future__ import annotations

import pytest

from conaclip_edge.distill.steps.optimizer import lr_factor


def test_it_rises_in_a_line_and_falls_in_a_cosine() -> None:
    rates = [lr_factor(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[99] < 0.001


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_of_few_steps_starts_at_the_peak(steps: int) -> None:
    assert lr_factor(0, steps, 0.05) == 1
