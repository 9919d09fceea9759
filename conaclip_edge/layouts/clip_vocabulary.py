"""Clients that have CLIP's vocabulary, its context and its width built in."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from conaclip_edge.errors import UserError
from conaclip_edge.layouts.source import Source
from conaclip_edge.models.tokenizer import whole_text
from conaclip_edge.system.files import write_json

PIECES, CONTEXT, WIDTH = 49408, 77, 512
EOS = PIECES - 1


def require_clip(source: Source, client: str, size: int) -> None:
    """Refuse a bundle that a client with CLIP's vocabulary cannot feed.

    Args:
        source: the bundle.
        client: its name, for the error.
        size: side of the pictures that it gives.

    Raises:
        UserError: what differs, and what to train instead.
    """
    manifest = source.manifest
    has = {
        f"{PIECES:,} pieces of CLIP's vocabulary": manifest.vocab_size == PIECES and manifest.eos_id == EOS,
        f"a context of {CONTEXT}": manifest.context == CONTEXT,
        f"pictures of {size} pixels": manifest.image_size == size,
        f"embeddings of {WIDTH} numbers or fewer": manifest.embed_dim <= WIDTH,
    }
    lacking = [what for what, there in has.items() if not there]
    if lacking:
        raise UserError(
            f"bundle {source.bundle} does not fit {client}, which has {', '.join(lacking)} built in. Train a student "
            f"of a teacher with CLIP's vocabulary: student.vocab.keep=all student.text.context={CONTEXT} "
            f"student.image.size={size} student.embed_dim={WIDTH}."
        )


def clip_ids(tokenizer: Tokenizer, text: str, cut_eos: bool) -> np.ndarray:
    """Return the ids of a text as these clients make them: 77 of them, zeros behind the end.

    Args:
        tokenizer: CLIP's, without padding and truncation.
        text: as it is given to the tokenizer.
        cut_eos: a text that is too long loses its EOS with the rest.
    """
    ids = tokenizer.encode(whole_text(text)).ids
    if len(ids) > CONTEXT:
        ids = ids[:CONTEXT] if cut_eos else [*ids[: CONTEXT - 1], EOS]
    return np.asarray([*ids, *[0] * (CONTEXT - len(ids))])


def ascii_words(text: str) -> str:
    """Keep what TIDY and SmartScan keep of a query: letters, digits and spaces of ASCII, in lower case."""
    return re.sub("[^A-Za-z0-9 ]", "", text).lower()


def write_vocabulary(source: Source, folder: Path) -> None:
    """Write vocab.json and merges.txt as CLIP's repositories have them."""
    model = source.tokenizer_json()["model"]
    write_json(folder / "vocab.json", model["vocab"])
    merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")
