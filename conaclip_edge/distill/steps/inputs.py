"""What one batch brings to a step: made of its rows by any process, moved to the device at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from conaclip_edge.distill.embeddings import Embeddings
from conaclip_edge.distill.examples import Examples
from conaclip_edge.distill.sampler import BatchRows
from conaclip_edge.distill.steps.all_gather import gather
from conaclip_edge.distill.steps.negative_queue import TeacherQueue
from conaclip_edge.distill.validation import pad


class Inputs(NamedTuple):
    """A batch: this process's share of what the student encodes, and of all the rest the whole.

    Attributes:
        pictures: of the share: uint8 pixels [p, 3, size, size], or what frozen blocks gave.
        token_ids: int32 ids [c, L] of the share.
        ti: the teacher's unit vectors of all pictures [P, d].
        tt: the same of all texts [C, d].
        picture_ids: [P].
        text_ids: [C]; equal numbers are equal texts.
        caption_to_image: [C]; -1 for an unpaired text.
        pairs: number of leading pairs.
    """

    pictures: Tensor
    token_ids: Tensor
    ti: Tensor
    tt: Tensor
    picture_ids: Tensor
    text_ids: Tensor
    caption_to_image: Tensor
    pairs: int

    def to(self, device: torch.device) -> Inputs:
        """Move all of it; out of page-locked memory the copy goes on while the device computes."""
        moved = {name: part.to(device, non_blocking=True) for name, part in self._asdict().items() if name != "pairs"}
        return self._replace(**moved)

    @property
    def pixel_values(self) -> Tensor:
        """The pictures as the student takes them: pixels as float32 in [0, 1], features as they are."""
        return self.pictures.float() / 255 if self.pictures.dtype == torch.uint8 else self.pictures


def inputs_of(rows: BatchRows, examples: Examples, pad_id: int, process: int = 0, processes: int = 1) -> Inputs:
    """Read what a batch's rows are.

    Args:
        rows: of the batch.
        examples: what both models see of every row.
        pad_id: stands behind short texts.
        process: whose share of the pictures and texts is encoded: every `processes`-th.
        processes: that share the batch.
    """
    mine = slice(process, None, processes)
    return Inputs(
        pictures=examples.pictures(rows.pictures[mine], rows.views[mine]),
        token_ids=pad([examples.ids[text] for text in rows.texts[mine]], pad_id),
        ti=examples.teacher_pictures(rows.pictures, rows.views),
        tt=examples.teacher_texts(rows.texts),
        picture_ids=torch.from_numpy(rows.pictures),
        text_ids=torch.from_numpy(examples.text_numbers[rows.texts]),
        caption_to_image=torch.from_numpy(rows.caption_to_image),
        pairs=rows.pairs,
    )


def encode(
    model: nn.Module, given: Inputs, queue: TeacherQueue, process: int, processes: int
) -> tuple[Embeddings, Tensor]:
    """Let the student encode this process's share of a batch, and gather all of it, gradients included.

    Args:
        model: the student.
        given: on its device.
        queue: past teacher rows.
        process: this one, of those that share the batch.
        processes: that share it.

    Returns:
        The embeddings in float32, whatever the towers compute in, and the student's logit scale.
    """
    si, st, scale = model(given.pixel_values, given.token_ids)
    batch = Embeddings(
        si=gather(si.float(), processes),
        ti=given.ti,
        st=gather(st.float(), processes),
        tt=given.tt,
        picture_ids=given.picture_ids,
        text_ids=given.text_ids,
        caption_to_image=given.caption_to_image,
        pairs=given.pairs,
        queue=queue.content(given.ti.device),
        process=process,
        processes=processes,
    )
    return batch, scale
