"""How an app feeds the files of a layout: its preprocessing, written here again from its code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from conaclip_edge.data.preprocess import Preprocess


@dataclass(frozen=True)
class Client:
    """A layout's files as its client runs them, one picture or text per call.

    Attributes:
        resized: an upright RGB picture to uint8 pixels [3, size, size], as the client resizes and crops.
        image: pixels uint8 [3, size, size] to an embedding [d], by the client's scaling and the layout's file.
        ids: a text to the int ids [length] that the client gives to the file, padding included.
        text: a text to an embedding [d], by those ids and the layout's file.
        pictures: in words, what the client does to a picture.
        wanted: how the student has to be trained so that this is what it knows.
        notes: what else a person who uses the layout has to know, a sentence each.
    """

    resized: Callable[[Image], np.ndarray]
    image: Callable[[np.ndarray], np.ndarray]
    ids: Callable[[str], np.ndarray]
    text: Callable[[str], np.ndarray]
    pictures: str
    wanted: Preprocess
    notes: tuple[str, ...] = ()


def as_seen(ids: np.ndarray, eos_id: int) -> list[int]:
    """Return the ids that count for an embedding: up to the first EOS, which takes the last place where there is none.

    Args:
        ids: [length], as a client gives them.
        eos_id: ends a text.
    """
    row = ids.tolist()
    if eos_id in row:
        return [int(each) for each in row[: row.index(eos_id) + 1]]
    return [*(int(each) for each in row[:-1]), eos_id]
