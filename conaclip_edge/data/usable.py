"""The pictures of a data set that can be used: decoded one at a time, the broken ones left out and named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from PIL.Image import Image

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import BadPicture, decode
from conaclip_edge.errors import UserError
from conaclip_edge.system.progress import say

FEW = 10  # of fewer pictures, a single broken one counts as a share like any other


class UsablePicture(NamedTuple):
    """A picture that decoded: its position in the data set, its encoded bytes, and the upright RGB picture."""

    row: int
    encoded: bytes
    picture: Image


def usable_pictures(
    pairs: Pairs, rows: Iterable[int], max_pixels: int, left_out: dict[str, str], max_bad: float | None = None
) -> Iterator[UsablePicture]:
    """Read and decode pictures in order, each when it is asked for, and leave out those that cannot be used.

    Args:
        pairs: the data set.
        rows: positions of the pictures.
        max_pixels: a larger picture cannot be used; it is refused before decoding.
        left_out: gets key -> reason of every picture that is left out.
        max_bad: share of `rows` that may be left out, checked (and said) after the last one; None: no check.

    Raises:
        UserError: more pictures than `max_bad` allows were left out.
    """
    count = 0
    for row in rows:
        count += 1
        try:
            encoded = pairs.read(row)
            picture = decode(encoded, max_pixels)
        except (BadPicture, OSError) as error:
            left_out[pairs.keys[row]] = str(error)
            continue
        yield UsablePicture(row, encoded, picture)
    if max_bad is not None:
        check_left_out(reasons(left_out), count, max_bad, pairs.name)


def reasons(left_out: Mapping[str, str]) -> list[str]:
    """Return "key: reason" of every picture that was left out, in order."""
    return [f"{key}: {reason}" for key, reason in left_out.items()]


def allowed_bad(total: int, max_bad: float) -> float:
    """Return how many of `total` pictures may be left out: the share `max_bad`; of ten or more at least one.

    A share of 0 allows none.
    """
    return max(1.0, max_bad * total) if max_bad and total >= FEW else max_bad * total


def check_left_out(left_out: Sequence[str], total: int, max_bad: float, name: str) -> None:
    """Name the pictures that are left out on stderr, and refuse the data set if they are too many.

    Args:
        left_out: "key: reason" of each.
        total: pictures that were read.
        max_bad: share of them that may be left out.
        name: of the data set.

    Raises:
        UserError: more were left out.
    """
    if not left_out:
        return
    shown = "; ".join(left_out[:5]) + (f"; and {len(left_out) - 5} more" if len(left_out) > 5 else "")
    if len(left_out) > allowed_bad(total, max_bad):
        raise UserError(
            f"data set '{name}': {len(left_out)} of {total} pictures cannot be used, more than max_bad = "
            f"{max_bad:.1%}: {shown}. Mend them, or raise data.max_bad."
        )
    say(f"{len(left_out)} of {total} pictures left out: {shown}")
