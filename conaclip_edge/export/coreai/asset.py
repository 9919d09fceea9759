"""Converting a tower to Core AI and writing it so that equal towers give equal bytes."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from coreai.runtime import AIModelAssetMetadata
from coreai_torch import TorchConverter, get_decomp_table
from torch import Tensor, nn

from conaclip_edge.export.coreai.bytecode import rename

ENTRY = "main"
PROGRAM, HASH, METADATA = "main.mlirb", "main.hash", "metadata.json"
# an operation, or "resource" for a weight; what is drawn; the shapes of a function for one length
_DRAWN = re.compile(r"(?P<of>\w+?)_(?P<drawn>[a-z]{8}|[0-9]+)(?P<form>(_spec_\w+)?)")


def convert(module: nn.Module, example: Tensor, name: str, output: str, lengths: tuple[int, int] | None) -> Any:
    """Convert a tower to an `AIProgram` with the function `main`.

    Args:
        module: maps the example to the embedding.
        example: an input.
        name: of the input.
        output: name of the embedding.
        lengths: smallest and largest length of a text; None: the example's shape is the only one.
    """
    dynamic = None
    if lengths is not None:
        dynamic = ({1: torch.export.Dim("length", min=lengths[0], max=lengths[1])},)
    exported = torch.export.export(module, (example,), dynamic_shapes=dynamic)
    program = exported.run_decompositions(get_decomp_table())
    # the other mode writes the names of source files and their folders into the asset
    converter = TorchConverter(mode=TorchConverter.Mode.RELEASE)
    converter.add_exported_program(program, input_names=[name], output_names=[output], entrypoint_name=ENTRY)
    with redirect_stdout(io.StringIO()):  # its progress bar, also where there is no terminal
        return converter.to_coreai()


def enumerate_lengths(program: Any, name: str, lengths: Sequence[int]) -> None:
    """Replace `main` of any length by a function for each length, `main_length_8` and so on; they share the weights."""
    program.set_static_shape_config(ENTRY, {f"length_{length}": {name: (1, length)} for length in lengths})


def write_asset(program: Any, path: Path, author: str, licence: str, description: str, about: dict[str, str]) -> None:
    """Write a program as a .aimodel folder, replacing one that is there.

    The toolchain draws the names of weights and of inner functions by chance, dates the asset, and leaves the order of
    its metadata to chance; here names are numbered, there is no date, and metadata are sorted.

    Args:
        program: an `AIProgram`.
        path: ends in .aimodel.
        author: shown in Xcode, as are the next two.
        licence: a sentence.
        description: a sentence.
        about: further metadata.
    """
    metadata = AIModelAssetMetadata()
    metadata.author, metadata.license, metadata.model_description = author, licence, description
    for key, value in about.items():
        metadata.set_custom(key, value)
    program.save_asset(path, metadata)
    bytecode = rename((path / PROGRAM).read_bytes(), _settled)
    (path / PROGRAM).write_bytes(bytecode)
    (path / HASH).write_bytes(hashlib.sha256(bytecode).digest())
    stored = json.loads((path / METADATA).read_text("utf-8"))
    stored.pop("creationDate", None)
    (path / METADATA).write_text(json.dumps(stored, sort_keys=True, indent=2) + "\n", "utf-8")


def _settled(names: Sequence[str]) -> list[str]:
    """Number what was drawn by chance, in its order; forms of one function for several lengths share the number."""
    operations = {"resource", *names}
    numbers: dict[str, int] = {}

    def settled(name: str) -> str:
        found = _DRAWN.fullmatch(name)
        if found is None or found["of"] not in operations:
            return name
        number = numbers.setdefault(f"{found['of']}_{found['drawn']}", len(numbers))
        return f"{found['of']}_{number}{found['form']}"

    return [settled(name) for name in names]
