"""What a student's frozen first blocks give, computed once per picture and view, like the teacher's embeddings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.data.pixel_cache import Reader
from conaclip_edge.system.files import atomic_file
from conaclip_edge.system.progress import track

Pictures = Callable[[np.ndarray, np.ndarray], Tensor]

BATCH = 64


class Tower(Protocol):
    """An image tower whose first part may be frozen; see `ImageTower`."""

    config: ImageTowerConfig

    @property
    def frozen(self) -> bool:
        """Whether there is such a part."""

    def first(self, pixel_values: Tensor) -> Tensor:
        """Run it on pixels in [0, 1]."""


def picture_input(tower: Tower, pixels: Reader, rows: np.ndarray, count: int, views: int, path: Path) -> Pictures:
    """Return a function (rows [n], views [n]) -> the model's picture input [n, ...] for training, pixels as uint8.

    Args:
        tower: the student's; if its first blocks are frozen, their output is the input, kept in a file of this run.
        pixels: gives uint8 pixels.
        rows: the pictures that will be asked for.
        count: number of pictures in the data set.
        views: augmentations a picture.
        path: of that file.
    """
    if not tower.frozen:
        return lambda some, of: torch.from_numpy(pixels(some, of))
    position = np.full(count, -1)
    position[rows] = np.arange(len(rows))
    table = _table(tower, pixels, rows, views, path)
    return lambda some, of: torch.from_numpy(table[of, position[some]])


@torch.no_grad()
def _table(tower: Tower, pixels: Reader, rows: np.ndarray, views: int, path: Path) -> np.ndarray:
    shape = tower.first(torch.zeros(1, 3, tower.config.size, tower.config.size)).shape[1:]
    with atomic_file(path) as temporary:
        table = np.lib.format.open_memmap(temporary, "w+", np.float32, (views, len(rows), *shape))
        for start in track(range(0, len(rows), BATCH), "frozen blocks"):
            part = rows[start : start + BATCH]
            for view in range(views):
                values = torch.from_numpy(pixels(part, np.full(len(part), view))).float() / 255
                table[view, start : start + len(part)] = tower.first(values).numpy()
        table.flush()
    return np.lib.format.open_memmap(path, mode="r")
