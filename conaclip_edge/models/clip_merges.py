"""CLIP's vocabulary from its list of merges, as OpenAI, OpenCLIP and EasyNLP ship it."""

from __future__ import annotations

import gzip
from pathlib import Path

from conaclip_edge.errors import UserError

MOST_MERGES_BYTES = 64 * 2**20


def read_merges(path: Path, size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Number CLIP's pieces: bytes, bytes at a word's end, one per merge, start and end.

    Args:
        path: merges in gzip, one per line behind the first line; there may be more than are wanted.
        size: of the vocabulary.

    Returns:
        The vocabulary and the merges, as transformers' CLIPTokenizer takes them.

    Raises:
        UserError: the file has not so many merges of two pieces each.
        OSError, EOFError, ValueError: it cannot be read.
    """
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    with gzip.open(path) as file:
        lines = file.read(MOST_MERGES_BYTES).decode().split("\n")
    letters = list(bytes_to_unicode().values())
    count = size - 2 * len(letters) - 2
    merges = [tuple(line.split()) for line in lines[1 : 1 + max(0, count)]]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges)]
    vocab = {piece: number for number, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    if any(len(merge) != 2 for merge in merges) or len(vocab) != size:
        raise UserError(
            f"{path} has no {count} merges of two pieces each, which vocab_size {size} needs. Use the {path.name} that "
            "belongs to the weights."
        )
    return vocab, [(left, right) for left, right in merges]
