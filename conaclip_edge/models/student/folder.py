"""The first look at a checkpoint: what names and JSON say, before any library is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from conaclip_edge.errors import UserError
from conaclip_edge.models.student.adopted.families import family_of
from conaclip_edge.models.student.adopted.picture_input import picture_input
from conaclip_edge.models.student.adopted.weights import weight_files
from conaclip_edge.models.transformers_folder import check_tokenizer
from conaclip_edge.system.files import read_json

RECORD = "training.json"  # what distill says of a student
OWN = "conaclip_edge"  # key of config.json with the shape of a student that distill made


_GROUPS = ("recipe", "data", "teacher", "parameters", "versions", "val")  # keys of it that hold keys and values


def int8_folder(folder: Path) -> Path:
    """Return where the int8 form of a float student goes: beside it, with -int8 behind its name."""
    # "." and the like have no name of their own
    named = folder.resolve() if folder.is_symlink() or folder.name in ("", "..") else folder
    return named.with_name(f"{named.name}-int8")


def read_training(folder: Path) -> dict[str, Any]:
    """Return what distill says of a student, of this version or an earlier one; {} for a model of others.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / RECORD
    record = read_json(file, "training record") if os.path.lexists(file) else {}
    if not isinstance(record, dict) or not all(isinstance(record.get(key, {}), dict) for key in _GROUPS):
        raise UserError(
            f"{file} is not what distill writes: it was changed or damaged. Take the whole folder from where the "
            "student was made."
        )
    return record


def check_checkpoint(folder: Path) -> dict[str, Any]:
    """Check that a folder is a student, or a model of a family that is exported as it is.

    Args:
        folder: of a checkpoint.

    Returns:
        The content of config.json.

    Raises:
        UserError: nothing there, another model, or a file of it that is missing or asks for what no bundle has.
    """
    if not folder.is_dir():
        raise UserError(f"no checkpoint at {folder}. Make one: conaclip-edge distill --out {folder}")
    if not (folder / "config.json").is_file() and (folder / "open_clip_config.json").is_file():
        raise UserError(
            f"{folder} is a checkpoint of OpenCLIP. A plain ViT is converted once: conaclip-edge convert {folder} "
            f"--out {folder}-converted. Of another tower distil a student: conaclip-edge init PICTURES --teacher "
            f"{folder}"
        )
    content = read_json(folder / "config.json", "checkpoint config") if (folder / "config.json").exists() else None
    if content is not None and not isinstance(content, dict):
        raise UserError(f"{folder / 'config.json'} must hold keys and values, not {type(content).__name__}.")
    own = isinstance(content, dict) and OWN in content
    if content is not None and not own:
        family_of(folder, content)
    weight_files(folder)
    read_training(folder)
    if content is None:
        raise UserError(f"no checkpoint config at {folder / 'config.json'}.")
    if not own:
        check_tokenizer(folder, str(folder))
        picture_input(folder)
    return content
