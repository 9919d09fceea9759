"""How many pictures of a data set are in each split, with captions and without."""

from __future__ import annotations

import numpy as np

from conaclip_edge.data.pairs import SPLITS, Pairs
from conaclip_edge.system.result import Result


class SplitSizes(Result):
    """The pictures of a data set, counted.

    Attributes:
        captioned: split -> pictures with a caption.
        unpaired: split -> pictures without.
        left_out: pictures that are broken.
    """

    captioned: dict[str, int]
    unpaired: dict[str, int]
    left_out: int

    @property
    def has_captions(self) -> bool:
        """Whether any picture has a caption."""
        return any(self.captioned.values())

    def __str__(self) -> str:
        shown = []
        for split in SPLITS:
            captioned, unpaired = self.captioned[split], self.unpaired[split]
            both = [f"{captioned:,} captioned"] if captioned else []
            both += [f"{unpaired:,} unpaired"] if unpaired else []
            shown.append(f"{split} {' + '.join(both) or '0'}")
        return ", ".join(shown) + f"; broken {self.left_out:,}"


def split_sizes(pairs: Pairs) -> SplitSizes:
    """Count the pictures of a data set, before any is decoded."""
    splits = np.asarray(pairs.splits)
    captioned = np.fromiter((bool(texts) for texts in pairs.captions), dtype=bool, count=len(pairs))
    return SplitSizes(
        captioned={split: int(np.sum(captioned & (splits == split))) for split in SPLITS},
        unpaired={split: int(np.sum(~captioned & (splits == split))) for split in SPLITS},
        left_out=len(pairs.skipped),
    )
