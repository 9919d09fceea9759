"""Which pictures and texts of a batch belong together, a block of rows at a time and never by N x N x N."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Belonging:
    """What belongs together: a picture and all texts that equal one of its captions, and equal ones of a kind.

    Attributes:
        picture_ids: [P]; equal ids are the same picture.
        text_ids: [C]; equal ids are the same text.
        caption_to_image: [C]; the picture id that a text describes, -1 for an unpaired text.
    """

    picture_ids: Tensor
    text_ids: Tensor
    caption_to_image: Tensor

    def positives(self, rows: str, columns: str, mine: slice) -> Tensor:
        """Tell which of some rows belong to which columns.

        Args:
            rows: "I" for pictures, "T" for texts.
            columns: the same.
            mine: which rows.

        Returns:
            bool [rows that are mine, columns].
        """
        if rows == columns:
            ids = self.picture_ids if rows == "I" else self.text_ids
            return ids[mine][:, None] == ids[None, :]
        if rows == "I":
            return self._texts_of(mine)[:, self._texts[1]]
        return self._pictures_of(mine)[:, self._pictures[1]]

    def answered(self, rows: str, columns: str) -> Tensor:
        """Tell which of all rows have a positive: bool [rows]."""
        if rows == columns:
            return torch.ones_like(self.picture_ids if rows == "I" else self.text_ids, dtype=torch.bool)
        known = self._described >= 0
        if rows == "I":
            return torch.isin(self._pictures[1], self._described[known])
        groups = self._texts[1]
        return torch.isin(groups, groups[known])

    def own_queued_texts(self, ids: Tensor, mine: slice) -> Tensor:
        """Tell which queued texts equal one that belongs to some pictures: bool [pictures that are mine, queued]."""
        found, known = _place(self._texts[0], ids)
        return self._texts_of(mine)[:, found] & known

    @cached_property
    def _pictures(self) -> tuple[Tensor, Tensor]:
        values, groups = torch.unique(self.picture_ids, return_inverse=True)
        return values, groups

    @cached_property
    def _texts(self) -> tuple[Tensor, Tensor]:
        values, groups = torch.unique(self.text_ids, return_inverse=True)
        return values, groups

    @cached_property
    def _described(self) -> Tensor:
        """The group of the picture [C] that each text describes; -1 where that is not in the batch."""
        found, known = _place(self._pictures[0], self.caption_to_image)
        return torch.where(known, found, -1)

    def _texts_of(self, mine: slice) -> Tensor:
        """Tell which groups of equal texts belong to some pictures: bool [pictures, groups]."""
        same = self._pictures[1][mine][:, None] == self._described[None, :]
        return _merged(same, self._texts[1], len(self._texts[0]))

    def _pictures_of(self, mine: slice) -> Tensor:
        """Tell which groups of equal pictures belong to some texts: bool [texts, groups]."""
        known = self._described >= 0
        groups = self._texts[1]
        same = groups[mine][:, None] == groups[known][None, :]
        return _merged(same, self._described[known], len(self._pictures[0]))


def _place(values: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Return where in sorted values others stand, and whether they do."""
    if not len(values):
        return torch.zeros_like(asked), torch.zeros_like(asked, dtype=torch.bool)
    found = torch.searchsorted(values, asked).clamp(max=len(values) - 1)
    return found, values[found] == asked


def _merged(same: Tensor, groups: Tensor, count: int) -> Tensor:
    """Merge the columns of a bool matrix [n, m] that are of one group: bool [n, count]."""
    merged = torch.zeros(len(same), count, device=same.device)
    return merged.index_add_(1, groups, same.float()) > 0
