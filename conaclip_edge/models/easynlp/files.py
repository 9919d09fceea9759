"""The files of a checkpoint of EasyNLP's CLIP, looked for before any large library is imported."""

from __future__ import annotations

import os
from pathlib import Path

from conaclip_edge.errors import UserError

FILES = ("config.json", "pytorch_model.bin", "vocab.txt")


def check_files(folder: Path) -> None:
    """Refuse a folder that lacks a file.

    Raises:
        UserError: which one, or that it cannot be read.
    """
    for name in FILES:
        if not os.path.isfile(folder / name):
            raise UserError(f"no {name} in {folder}. A checkpoint of EasyNLP's CLIP holds {', '.join(FILES)}.")
        if not os.access(folder / name, os.R_OK):
            raise UserError(f"no right to read {folder / name}.")
