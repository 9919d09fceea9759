"""Names of files as a page shows them."""

from __future__ import annotations

import os
from pathlib import PurePath


def shown_name(path: PurePath) -> str:
    """Return a path with "/" as text that JSON can hold: bytes of it that are no UTF-8 become U+FFFD."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")
