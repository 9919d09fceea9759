"""A matrix of similarities has two ways to be read: along its rows and along its columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

Rows = Literal["both", "rows", "columns"]


def ways(rows: Rows, along_rows: Callable[[], Tensor], along_columns: Callable[[], Tensor]) -> Tensor:
    """Return the loss along the rows, along the columns, or half of each; only what counts is computed."""
    if rows == "both":
        return (along_rows() + along_columns()) / 2
    return along_rows() if rows == "rows" else along_columns()
