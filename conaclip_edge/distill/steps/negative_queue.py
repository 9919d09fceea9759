"""A queue of past teacher embeddings: free negatives that never go stale, since the teacher stands still."""

from __future__ import annotations

import torch
from torch import Tensor

from conaclip_edge.distill.embeddings import Embeddings


class TeacherQueue:
    """Keeps the last `size` teacher pictures and texts that went by, on the device that their batches were on.

    Args:
        size: rows kept a role; 0 keeps none.
        dim: width of the space.
    """

    def __init__(self, size: int, dim: int):
        self.size = size
        self.rows: dict[str, tuple[Tensor, Tensor, Tensor]] = {
            role: (torch.zeros(0, dim), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
            for role in ("TI", "TT")
        }

    def push(self, batch: Embeddings) -> None:
        """Add a batch's teacher rows; the oldest make room."""
        if not self.size:
            return
        new = {
            "TI": (batch.ti, batch.picture_ids, batch.picture_ids),
            "TT": (batch.tt, batch.text_ids, batch.caption_to_image),
        }
        self.rows = {
            role: tuple(
                torch.cat([old.to(part.device), part.detach()])[-self.size :]
                for old, part in zip(self.rows[role], new[role], strict=True)
            )  # type: ignore[misc]  # zip loses the length of three
            for role in self.rows
        }

    def content(self, device: torch.device) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Return (embeddings, own ids, picture ids) by role; empty while nothing was pushed.

        Args:
            device: of the batch; only what was loaded from a file is not there yet, and it moves once.
        """
        if not len(self.rows["TI"][0]):
            return {}
        if self.rows["TI"][0].device != device:
            self.rows = {role: (a.to(device), b.to(device), c.to(device)) for role, (a, b, c) in self.rows.items()}
        return self.rows

    def state(self) -> dict[str, Tensor]:
        """Return the queue as named tensors."""
        return {f"{role}.{place}": part for role, parts in self.rows.items() for place, part in enumerate(parts)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take the tensors that `state` gave."""
        self.rows = {role: (state[f"{role}.0"], state[f"{role}.1"], state[f"{role}.2"]) for role in self.rows}
