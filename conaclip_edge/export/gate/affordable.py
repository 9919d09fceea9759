"""How many held-out pictures an executor is given, which computes on one core and without fast kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from conaclip_edge.evaluation.recall import ranks
from conaclip_edge.export.gate.held_out import HeldOut

# of all pictures together. By work and not by time, so that a manifest is the same every time: Apple's executor takes
# 6 to 20 ns each, a minute for the demo's pictures and some minutes for four of a ViT-S/16
MULTIPLY_ADDS = 20e9
_LEAST = 3


@torch.no_grad()
def affordable(held: HeldOut, tower: nn.Module, size: int) -> HeldOut:
    """Return the first held-out pictures, with their captions, as many as the work allows.

    Args:
        held: all of them.
        tower: the image tower.
        size: of its pictures.
    """
    with FlopCounterMode(display=False) as counted:
        tower(torch.zeros(1, 3, size, size))
    count = max(_LEAST, int(MULTIPLY_ADDS / max(1, counted.get_total_flops() / 2)))
    return held if count >= len(held.pictures) else _first(held, count)


def _first(held: HeldOut, count: int) -> HeldOut:
    pictures = held.pictures[:count]
    # without captions the texts are phrases of no picture
    kept = np.flatnonzero(held.caption_to_image < count) if held.targets is None else np.arange(len(held.ids))[:count]
    texts, targets = held.texts[kept], held.targets
    if targets is not None:
        targets = replace(targets, embeddings=targets.embeddings[:count])
        caption_to_image, ranked = held.caption_to_image, ranks(pictures, targets.embeddings, np.arange(count))
    else:
        caption_to_image = held.caption_to_image[kept]
        ranked = ranks(pictures, texts, caption_to_image)
    return replace(
        held,
        pixels=held.pixels[:count],
        ids=tuple(held.ids[row] for row in kept),
        caption_to_image=caption_to_image,
        pictures=pictures,
        texts=texts,
        ranks=ranked,
        targets=targets,
        teacher_mean_recall=None,  # was measured on all of them
        on_grids=None if held.on_grids is None else held.on_grids[:count],
    )
