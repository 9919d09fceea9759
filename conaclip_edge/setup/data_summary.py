"""What a data set holds: pictures, captions, splits, broken ones, and the scripts that the captions are written in."""

from __future__ import annotations

import time
import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import known_format, read_pairs
from conaclip_edge.data.pairs import SPLITS, Pairs
from conaclip_edge.data.usable import reasons, usable_pictures
from conaclip_edge.errors import UserError
from conaclip_edge.system.result import Result

MOST_DECODED = 2000  # pictures that are decoded to find broken ones
SECONDS = 20.0  # that decoding may take
MOST_CAPTIONS = 20_000  # that are looked at for their script
FIRST = 5  # broken pictures that are named


class DataSummary(Result):
    """A data set.

    Attributes:
        name: what reports call it.
        format: a row of the table of formats.
        path: of the data; "" for data of a package.
        pictures: that can be read, with or without captions.
        captioned: pictures with a caption.
        captions: of all pictures together.
        splits: split -> pictures.
        captioned_splits: split -> pictures with a caption.
        decoded: pictures that were decoded to look for broken ones.
        missing: pictures that the source names and that are not there, or that its rows cannot be read for.
        broken: pictures that did not decode, of those that were decoded.
        first_broken: "key: reason" of the first missing and broken ones.
        scripts: script, e.g. "LATIN" -> share of the captions' letters.
        licence: of the pictures; "" if unknown.
    """

    name: str
    format: str
    path: str
    pictures: int
    captioned: int
    captions: int
    splits: dict[str, int]
    captioned_splits: dict[str, int]
    decoded: int
    missing: int
    broken: int
    first_broken: tuple[str, ...]
    scripts: dict[str, float]
    licence: str

    @property
    def other_scripts(self) -> float:
        """Share of the captions' letters that are not Latin."""
        return 1 - self.scripts.get("LATIN", 0.0) if self.scripts else 0.0

    @property
    def broken_share(self) -> float:
        """Share of the pictures that cannot be used, as far as those that were decoded show it."""
        named = self.pictures + self.missing
        return (self.missing + self.pictures * self.broken / max(1, self.decoded)) / max(1, named)


def summarise(config: DataConfig, seconds: float = SECONDS) -> tuple[DataSummary, Pairs]:
    """Read a data set, whatever share of it is broken, and decode some of its pictures.

    Args:
        config: the data section; without a format, it is found by what lies at the path.
        seconds: after which no more pictures are decoded.

    Returns:
        What it holds, and the pairs themselves.

    Raises:
        UserError: nothing known at the path, or no picture that can be used.
    """
    config = known_format(config).model_copy(update={"max_bad": 1.0})
    pairs = read_pairs(config, captions_needed=False)
    broken, decoded = _broken(pairs, config.max_pixels, seconds)
    if decoded and len(broken) == decoded:
        raise UserError(f"none of {decoded} pictures of {pairs.name} can be used: {reasons(broken)[0]}.")
    counts = np.array([len(captions) for captions in pairs.captions])
    splits = np.asarray(pairs.splits)
    found = DataSummary(
        name=pairs.name,
        format=str(config.format),
        path=config.url or str(config.path or ""),
        pictures=len(pairs),
        captioned=int(np.sum(counts > 0)),
        captions=int(counts.sum()),
        splits={split: int(np.sum(splits == split)) for split in SPLITS},
        captioned_splits={split: int(np.sum((splits == split) & (counts > 0))) for split in SPLITS},
        decoded=decoded,
        missing=len(pairs.skipped),
        broken=len(broken),
        first_broken=(*pairs.skipped, *reasons(broken))[:FIRST],
        scripts=scripts_of(some_captions(pairs)),
        licence=pairs.licence,
    )
    return found, pairs


def some_captions(pairs: Pairs, most: int = MOST_CAPTIONS) -> list[str]:
    """Return the captions of all pictures, or of every so many where there are more than `most`."""
    step = max(1, len(pairs) // most)
    return [text for row in range(0, len(pairs), step) for text in pairs.captions[row]]


def scripts_of(texts: Iterable[str]) -> dict[str, float]:
    """Return script -> share of the letters of texts, the most frequent first, by the letters' names in Unicode."""
    letters = Counter(letter for text in texts for letter in text if letter.isalpha())
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[unicodedata.name(letter, "OTHER").partition(" ")[0].partition("-")[0]] += count
    total = scripts.total()
    return {script: count / total for script, count in scripts.most_common()}


def _broken(pairs: Pairs, max_pixels: int, seconds: float) -> tuple[dict[str, str], int]:
    """Decode pictures, evenly spread, for some seconds at most; returns key -> reason of broken ones, and how many."""
    rows = np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), MOST_DECODED)).astype(int))
    broken: dict[str, str] = {}
    until, good = time.monotonic() + seconds, 0
    order = np.random.default_rng(0).permutation(rows)
    for _ in usable_pictures(pairs, order.tolist(), max_pixels, broken):
        good += 1
        if time.monotonic() > until:
            break
    return broken, good + len(broken)


def data_text(found: DataSummary) -> list[str]:
    """Write a data set for a terminal, a fact per line."""
    per = f", {found.captions / found.captioned:.1f} per captioned picture" if found.captioned else ""
    lines = [
        f"data: {found.path or found.name}, format {found.format}",
        f"  {found.pictures:,} pictures, {found.captioned:,} with captions ({found.captions:,} captions{per})",
        "  splits: " + ", ".join(f"{name} {count:,}" for name, count in found.splits.items()),
    ]
    if found.missing or found.broken:
        some = f" of {found.decoded:,} decoded" if found.decoded < found.pictures else ""
        names = "; ".join(found.first_broken)
        lines.append(f"  cannot be used: {found.missing:,} missing, {found.broken:,} broken{some}: {names}")
    else:
        lines.append("  none broken" + (f" of {found.decoded:,} decoded" if found.decoded < found.pictures else ""))
    if found.scripts:
        shares = [f"{name.title()} {share:.0%}" for name, share in list(found.scripts.items())[:4] if share >= 0.005]
        lines.append(f"  letters of the captions: {', '.join(shares)}")
    return lines
