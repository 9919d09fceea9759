"""What an ExecuTorch image tower spends its time on: towers that lack a part, against the whole one.

ExecuTorch's package has no profiler for what happens inside a delegate, so a part's time is what its absence spares.
None of its blocks is static: attention, norms and GELU are float, products take the range of each input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MethodType

import numpy as np
import torch
from torch import Tensor, nn

from conaclip_edge.benchmarks.measure.plain_exports import quiet_exporter
from conaclip_edge.benchmarks.schema.speed import Finding
from conaclip_edge.benchmarks.speed.axes.towers import calls
from conaclip_edge.benchmarks.speed.two_clocks import Timer, over, rounds
from conaclip_edge.export.towers.layers import Block
from conaclip_edge.export.towers.towers import VitTower, image_tower
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.models.student.dual_encoder import DualEncoder

BLOCKS = 4  # of the tower; all are alike but the last, and lowering takes time for each
WHOLE = "whole"
LEFT_OUT = {
    "attention": ("attention",),
    "norms": ("norms",),
    "GELU": ("GELU",),
    "all but the int8 products": ("attention", "norms", "GELU"),
}


def measure(
    checkpoint: Path,
    files: dict[str, Path],
    inputs: Sequence[np.ndarray],
    count: int,
    seed: int,
    timer: Timer = rounds,
) -> list[Finding]:
    """Time towers without a part of their blocks side by side with the whole one.

    Args:
        checkpoint: of a student with a ViT image tower.
        files: from `without_parts`.
        inputs: pixels [1, 3, size, size] that take turns.
        count: rounds.
        seed: of their order.
        timer: times them.
    """
    times = timer(calls(files, dict.fromkeys(files, inputs)), count, seed)
    findings = []
    for name in (name for name in files if name != WHOLE):
        cpu, wall = over(times[name], times[WHOLE])
        findings.append(
            Finding(
                axis="parts",
                what=f"image ExecuTorch int8 without {name} / whole",
                value=cpu,
                wall=wall,
                n=count,
                note=f"the first {BLOCKS} blocks of {checkpoint.name}, none static",
            )
        )
    return findings


def without_parts(checkpoint: Path, folder: Path) -> dict[str, Path]:
    """Lower a student's image tower, see `lower_without_parts`; callable in a process of its own."""
    return lower_without_parts(load_student(checkpoint).model, folder)


def lower_without_parts(
    model: DualEncoder, folder: Path, left_out: Mapping[str, Sequence[str]] = LEFT_OUT
) -> dict[str, Path]:
    """Lower the first blocks of a student's image tower to XNNPACK, whole and without each part.

    Args:
        model: of a student with a ViT image tower.
        folder: gets the files.
        left_out: name -> parts that its tower lacks.

    Returns:
        "whole" and each name -> .pte file.
    """
    from conaclip_edge.export.executorch.export import lower
    from conaclip_edge.export.executorch.fit_xnnpack import fit_xnnpack
    from conaclip_edge.export.executorch.partitioner import xnnpack_partitioner
    from conaclip_edge.export.quantize.activation_budget import Activation

    files = {}
    for number, (name, parts) in enumerate({WHOLE: (), **left_out}.items()):
        tower, size = shortened(model, parts)
        products = {
            path: Activation("dynamic") for path, module in tower.named_modules() if isinstance(module, nn.Linear)
        }
        with quiet_exporter():
            fitted = fit_xnnpack(tower, products)
            program = lower(fitted, torch.zeros(1, 3, size, size), None, xnnpack_partitioner()).program
        files[name] = folder / f"part-{number}.pte"
        files[name].write_bytes(program)
    return files


def shortened(model: DualEncoder, left_out: Sequence[str]) -> tuple[VitTower, int]:
    """Return the first blocks of a student's image tower without some parts, and its picture size."""
    tower = image_tower(model)
    assert isinstance(tower, VitTower)  # the suite asks for a ViT student
    tower.blocks = nn.ModuleList(list(tower.blocks)[:BLOCKS])
    for block in tower.blocks:
        assert isinstance(block, Block)
        if "attention" in left_out:
            block._attend = MethodType(_products_alone, block)  # type: ignore[method-assign]
        if "norms" in left_out:
            block.norm1 = block.norm2 = nn.Identity()  # type: ignore[assignment]
        if "GELU" in left_out:
            block.act = nn.Identity()
    return tower, model.config.image.size


def _products_alone(block: Block, queries: Tensor, rows: Tensor, mask: Tensor | None) -> Tensor:
    """Compute queries, keys and values as attention does, and only add them."""
    length = queries.shape[1]
    mixed: Tensor = block.q(queries) + block.k(rows)[:, :length] + block.v(rows)[:, :length]
    return mixed
