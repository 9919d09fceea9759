"""Which split a picture belongs to: the source's own, or a stable share of train."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import PurePath

import numpy as np

from conaclip_edge.config.data import DataConfig
from conaclip_edge.errors import UserError, unknown

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "restval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

LEAST = 10  # pictures of a split that is cut from train: of fewer, recall says nothing


def split_named(name: str, where: str) -> str:
    """Return "train", "val" or "test" for what a source calls a split; a strange name is a UserError with `where`."""
    known = SPLIT_NAMES.get(name.strip().lower())
    if known is None:
        raise unknown("split", name, SPLIT_NAMES, where)
    return known


def split_of_folder(relative: PurePath, otherwise: str = "train") -> str:
    """Return the split after which a folder on a relative path is named."""
    return next((SPLIT_NAMES[part.lower()] for part in relative.parts[:-1] if part.lower() in SPLIT_NAMES), otherwise)


def split_of_table(relative: PurePath) -> str:
    """Return the split that the path of a table names by a folder or by a word of its file name; train if none.

    `test/00000.tar`, `validation-00000-of-00002.parquet` and `captions_val2017.json` name one; `00000.tar` does not.
    """
    words = re.split(r"[^a-z]+", relative.stem.lower())
    return split_of_folder(relative, next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "train"))


def fill_splits(
    splits: np.ndarray, keys: Iterable[str], config: DataConfig, captioned: np.ndarray | None = None
) -> np.ndarray:
    """Return the splits of a source with those that it lacks cut from train.

    Where no picture is in val (test), `val_fraction` (`test_fraction`) of train goes there. Which ones go depends on
    their keys alone: a split stays when pictures are added, and test stays when `val_fraction` changes. Of few
    pictures more go, so that a split has `LEAST` (or a quarter of the pictures, if that is less),
    and train twice that.

    Args:
        splits: [n] "train", "val" or "test".
        keys: n keys.
        config: gives the fractions; a UserError if they leave nothing to train on.
        captioned: [n] whether a picture has a caption; where some have, the others stay in train.
    """
    val = 0.0 if "val" in splits else config.val_fraction
    test = 0.0 if "test" in splits else config.test_fraction
    if val + test >= 1:
        raise UserError(
            f"data.val_fraction = {config.val_fraction} and data.test_fraction = {config.test_fraction} leave nothing "
            "to train on. Their sum must be below 1."
        )
    place = np.fromiter((_place(key) for key in keys), dtype=np.float64, count=len(splits))
    free = splits == "train"
    if captioned is not None and captioned.any():
        free &= captioned
    least = min(LEAST, int(free.sum()) // 4)
    filled = splits.copy()
    for name, share, end, others in (("test", test, test, 3 if val else 2), ("val", val, test + val, 2)):
        if share:
            filled[free & (place < _end(place[free], end, least, others * least))] = name
            free &= filled == splits
    return filled


def _end(places: np.ndarray, end: float, least: int, others: int) -> float:
    """Return the number nearest to `end` below which at least `least` places lie, and from which on `others` do."""
    below = int(np.sum(places < end))
    wanted = min(max(below, least), max(least, len(places) - others))
    if wanted in (0, below):
        return end
    return float(np.nextafter(np.partition(places, wanted - 1)[wanted - 1], 1))


def _place(key: str) -> float:
    """A number in [0, 1) that a key always gets."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) / 2**64
