"""Terms of the interaction graph for tests: which make sense where, and batches to compute them on."""

from __future__ import annotations

import numpy as np
import torch

from conaclip_edge.config.graph import GraphConfig, Term
from conaclip_edge.distill.embeddings import Embeddings
from conaclip_edge.distill.graph import compute, expand
from conaclip_edge.distill.supervisions import EDGES
from tests.helpers.graph.batches import batch, unit

TEMPERATURE = 0.2
# where two different encoders meet: a pair of an encoder with itself has nothing to find and no distance
_MEETING = {"SI-TI", "ST-TT", "SI-TT", "ST-TI", "SI-ST", "intra-ts", "inter-ts", "inter-ss"}
_EVERYWHERE = _MEETING | {"SI-SI", "ST-ST", "intra-ss"}
_MIRRORED = {"intra-ts", "inter-ts", "intra-ss"}
# loss -> the edges and learning types on which it makes sense; a new loss has its line here
PLACES = {
    "infonce": _MEETING,
    "sigmoid": _MEETING,
    "fd": _MEETING,
    "sd": _EVERYWHERE,
    "kl": _EVERYWHERE,
    "sym-sd": _MIRRORED,
    "sym-kl": _MIRRORED,
}
SENSIBLE = [(edge, loss) for edge in EDGES for loss, places in PLACES.items() if edge in places]
SENSELESS = [(edge, loss) for edge in EDGES for loss, places in PLACES.items() if edge not in places]
BATCHES = {
    "pairs": batch(5),
    "pairs and unpaired": batch(3, unpaired_pictures=2, unpaired_texts=1, seed=1),
    "twice the same picture": batch(
        4, seed=2, picture_ids=torch.tensor([7, 8, 7, 9]), caption_to_image=torch.tensor([7, 8, 7, 9])
    ),
    "equal texts": batch(4, unpaired_texts=1, seed=3, text_ids=torch.tensor([1, 2, 2, 3, 1])),
}


def graph(*terms: tuple[str, str]) -> tuple[Term, ...]:
    return expand(GraphConfig(terms=tuple(Term(edge=edge, loss=loss, temperature=TEMPERATURE) for edge, loss in terms)))


def values(terms: tuple[Term, ...], made: Embeddings, scale: float = 10.0) -> dict[str, float]:
    return {name: value.item() for name, value in compute(terms, made, torch.tensor(scale)).items()}


def queue() -> dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Pictures 100 (in every batch), 7 and 8; text 1000 of picture 100, one like it of picture 8, an unpaired one."""
    random = np.random.default_rng(9)
    return {
        "TI": (unit(random, 3), torch.tensor([100, 7, 8]), torch.tensor([100, 7, 8])),
        "TT": (unit(random, 3), torch.tensor([1000, 1001, 77]), torch.tensor([100, 8, -1])),
    }
