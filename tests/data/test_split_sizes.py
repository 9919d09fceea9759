"""The sizes of splits in a line."""

from __future__ import annotations

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.split_sizes import split_sizes


def test_sizes_are_said_in_a_line() -> None:
    captions = [("x",)] * 6 + [()] * 3
    splits = ["train"] * 3 + ["val", "test", "test"] + ["train"] * 2 + ["left out"]
    pairs = Pairs("p", list("abcdefghi"), captions, splits, lambda _: b"", "", skipped=["z: broken"])
    sizes = split_sizes(pairs)
    assert str(sizes) == "train 3 captioned + 2 unpaired, val 1 captioned, test 2 captioned; broken 1"
    assert sizes.has_captions
