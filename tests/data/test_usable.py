"""Pictures that can be used come in order, each decoded once; the others are left out, named and limited."""

from __future__ import annotations

import io
from itertools import islice

import pytest
from PIL import Image

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.usable import allowed_bad, reasons, usable_pictures
from conaclip_edge.errors import UserError


def png(shade: int, width: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


class Drawn:
    """Six pictures, each as red as its row; notes which ones are read."""

    def __init__(self, **changed: bytes | Exception) -> None:
        self.files: list[bytes | Exception] = [changed.get(f"p{row}", png(row)) for row in range(6)]
        self.read: list[int] = []
        keys = [f"p{row}" for row in range(6)]
        self.pairs = Pairs("drawn", keys, [["a"]] * 6, ["train"] * 6, self._read, "")

    def _read(self, row: int) -> bytes:
        self.read.append(row)
        found = self.files[row]
        if isinstance(found, Exception):
            raise found
        return found


def test_pictures_come_in_the_asked_order_with_their_bytes() -> None:
    left_out: dict[str, str] = {}
    found = list(usable_pictures(Drawn().pairs, [4, 0, 5], 100, left_out, max_bad=0))
    assert [one.row for one in found] == [4, 0, 5]
    assert [one.picture.getpixel((0, 0)) for one in found] == [(4, 0, 0), (0, 0, 0), (5, 0, 0)]
    assert [one.encoded for one in found] == [png(4), png(0), png(5)]
    assert left_out == {}


def test_what_cannot_be_read_or_decoded_is_left_out_and_named() -> None:
    drawn = Drawn(p1=b"no picture", p3=OSError("the disk is gone"), p4=png(4, width=40))
    left_out: dict[str, str] = {}
    found = usable_pictures(drawn.pairs, range(6), 100, left_out)
    assert [one.row for one in found] == [0, 2, 5]
    assert list(left_out) == ["p1", "p3", "p4"]
    assert reasons(left_out) == [
        "p1: cannot be decoded (no picture format that Pillow knows)",
        "p3: the disk is gone",
        "p4: 40x4 pixels are more than max_pixels = 100",
    ]


def test_each_picture_is_read_once_and_only_when_it_is_asked_for() -> None:
    drawn = Drawn(p1=b"no picture")
    assert [one.row for one in islice(usable_pictures(drawn.pairs, range(6), 100, {}), 2)] == [0, 2]
    assert drawn.read == [0, 1, 2]
    drawn.read.clear()
    list(usable_pictures(drawn.pairs, [5, 1, 3], 100, {}))
    assert drawn.read == [5, 1, 3]


def test_as_many_may_be_left_out_as_the_limit_allows(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = Drawn(p1=b"", p2=b"").pairs
    assert len(list(usable_pictures(pairs, range(6), 100, {}, max_bad=2 / 6))) == 4
    assert "2 of 6 pictures left out: p1: cannot be decoded" in capsys.readouterr().err
    found = usable_pictures(pairs, range(6), 100, {}, max_bad=0.3)
    assert [next(found).row for _ in range(4)] == [0, 3, 4, 5]
    with pytest.raises(UserError, match=r"^data set 'drawn': 2 of 6 pictures cannot be used, more than max_bad = 30"):
        next(found)


def test_without_a_limit_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(usable_pictures(Drawn(p0=b"").pairs, [0], 100, {})) == []
    assert capsys.readouterr().err == ""


def test_a_row_that_is_broken_again_and_again_is_named_once() -> None:
    left_out: dict[str, str] = {}
    for _ in range(3):
        list(usable_pictures(Drawn(p0=b"").pairs, [0, 1], 100, left_out))
    assert list(left_out) == ["p0"]


def test_one_broken_picture_of_ten_or_more_is_always_allowed_unless_the_share_is_zero() -> None:
    assert [allowed_bad(total, 0.01) >= 1 for total in (9, 10, 60, 99)] == [False, True, True, True]
    assert [allowed_bad(60, 0.01) >= 2, allowed_bad(60, 0), allowed_bad(1000, 0.01)] == [False, 0, 10]
