"""Batches of random unit vectors, as tensors for the code and as arrays for the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.distill.embeddings import Embeddings
from tests.oracles.losses import Batch


def unit(random: np.random.Generator, rows: int, dim: int = 6) -> Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(random.standard_normal((rows, dim))), dim=1)


def batch(
    pairs: int = 4, unpaired_pictures: int = 0, unpaired_texts: int = 0, seed: int = 0, dim: int = 6, **changes: Any
) -> Embeddings:
    """Random pairs, then unpaired pictures and texts; all pictures and texts differ unless `changes` says otherwise."""
    random = np.random.default_rng(seed)
    pictures, texts = pairs + unpaired_pictures, pairs + unpaired_texts
    content: dict[str, Any] = {
        "si": unit(random, pictures, dim).requires_grad_(),
        "ti": unit(random, pictures, dim).requires_grad_(),
        "st": unit(random, texts, dim).requires_grad_(),
        "tt": unit(random, texts, dim).requires_grad_(),
        "picture_ids": torch.arange(pictures) + 100,
        "text_ids": torch.arange(texts) + 1000,
        "caption_to_image": torch.cat([torch.arange(pairs) + 100, torch.full((unpaired_texts,), -1)]),
        "pairs": pairs,
    }
    return Embeddings(**(content | changes))


def as_arrays(made: Embeddings) -> Batch:
    """The same batch for the oracle."""
    return Batch(
        *(made.role(name).detach().numpy() for name in ("SI", "TI", "ST", "TT")),
        made.picture_ids.tolist(),
        made.text_ids.tolist(),
        made.caption_to_image.tolist(),
        made.pairs,
        {role: (rows.numpy(), ids.tolist(), own.tolist()) for role, (rows, ids, own) in made.queue.items()},
    )
