"""What a data set is here: pictures with captions, a split and a fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from conaclip_edge.errors import UserError
from conaclip_edge.system.files import sha256_text

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Pairs:
    """Captioned pictures of one source, of all splits together.

    Attributes:
        name: what to call the data set in reports.
        keys: one stable name a picture, unique.
        captions: 1..n captions a picture; may be backed by a memory-mapped table.
        splits: "train", "val" or "test", one a picture; by any other word a picture is in none of them.
        read: gives the encoded bytes (PNG, JPEG, ...) of picture i.
        stamp: identifies the content of the pictures (hashes or sizes with times); part of the fingerprint.
        licence: what the data may be used for, with the attribution it asks for; "" if unknown.
        skipped: pictures left out while reading the source, as "key: reason".
    """

    name: str
    keys: Sequence[str]
    captions: Sequence[Sequence[str]]
    splits: Sequence[str]
    read: Callable[[int], bytes]
    stamp: str
    licence: str = ""
    skipped: Sequence[str] = field(default_factory=tuple)

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, split: str) -> np.ndarray:
        """Return the positions [n] of the pictures of a split, in their order; an empty split is an error."""
        rows = np.flatnonzero(np.asarray(self.splits) == split)
        if len(rows) == 0:
            counts = {name: int(np.sum(np.asarray(self.splits) == name)) for name in SPLITS}
            raise UserError(f"data set '{self.name}' has no picture in split '{split}': {counts}.")
        return rows

    @property
    def content(self) -> str:
        """Hash of keys, captions and picture stamps: what embeddings depend on."""
        rows = ("\x1f".join((key, *captions)) for key, captions in zip(self.keys, self.captions, strict=True))
        return sha256_text(self.stamp, *rows)

    @property
    def fingerprint(self) -> str:
        """Hash of name, content and splits: equal fingerprints mean equal data."""
        return sha256_text(self.name, self.content, *self.splits)
