"""Reading a model's safetensors: one file or shards, in any float type, as float32."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from conaclip_edge.errors import UserError
from conaclip_edge.models.transformers_folder import pickled_files, to_safetensors
from conaclip_edge.system.files import read_json

if TYPE_CHECKING:
    from torch import Tensor

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights; they are not opened.

    Args:
        folder: of a checkpoint.

    Raises:
        UserError: there are none, or a shard is missing.
    """
    if (folder / FILE).is_file():
        return [folder / FILE]
    if (folder / INDEX).is_file():
        return _shards(folder)
    pickled = pickled_files(folder)
    if not pickled:
        raise UserError(f"checkpoint {folder} has no {FILE}. Save it with safetensors.")
    raise UserError(
        f"checkpoint {folder} has no {FILE}. It has {', '.join(pickled)}, which is refused: unpickling can run code. "
        f"Save it with safetensors: {to_safetensors(str(folder), f'{folder}-safetensors')}"
    )


def _shards(folder: Path) -> list[Path]:
    index = read_json(folder / INDEX, "index of weights")
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise UserError(f"{folder / INDEX} has no weight_map of file names.")
    files = [folder / name for name in sorted(set(shards.values()))]
    for file in files:
        if file.parent != folder or file.suffix != ".safetensors":
            raise UserError(f"{folder / INDEX} names {file.name}, which is no safetensors file beside it.")
        if not file.is_file():
            raise UserError(f"{folder / INDEX} names {file.name}, which is not there. Fetch the checkpoint again.")
    return files


def read_weights(files: list[Path]) -> dict[str, Tensor]:
    """Read all tensors of safetensors files in float32.

    Args:
        files: of `weight_files`.

    Returns:
        Name -> tensor; what holds whole numbers stays as it is.

    Raises:
        SafetensorError, OSError: a damaged file.
    """
    from safetensors.torch import load_file

    found: dict[str, Tensor] = {}
    for file in files:
        for name, value in load_file(file).items():
            found[name] = value.float() if value.is_floating_point() else value
    return found
