"""Rows of one student are compared embedding by embedding, every two of them once for each tower."""

from __future__ import annotations

import numpy as np
import pytest

from conaclip_edge.benchmarks.measure.recall import Embedded
from conaclip_edge.benchmarks.suite.agreement import agreements

PICTURES = np.eye(3, dtype=np.float32)
TEXTS = np.asarray([[1, 0, 0], [0, 1, 0]], np.float32)


def test_every_two_rows_are_compared_once_for_each_tower_that_both_have():
    whole, no_text = Embedded(PICTURES, TEXTS), Embedded(PICTURES, None)
    found = agreements({"a": whole, "b": whole, "c": no_text, "other": whole}, ["a", "b", "c", "not run"])
    assert [(each.tower, each.rows) for each in found] == [
        ("image", ("a", "b")),
        ("image", ("a", "c")),
        ("image", ("b", "c")),
        ("text", ("a", "b")),
    ]
    assert [each.n for each in found] == [3, 3, 3, 2]


def test_cosines_are_of_the_same_input_and_do_not_depend_on_lengths():
    turned = PICTURES.copy()
    turned[0] = [3, 4, 0]
    (found,) = agreements({"a": Embedded(PICTURES, None), "b": Embedded(turned, None)}, ["a", "b"])
    assert (found.mean, found.least) == (pytest.approx((0.6 + 1 + 1) / 3), pytest.approx(0.6))
