"""Which layer of an image tower an exporter stopped at, by the operator that its error names."""

from __future__ import annotations

import re

import torch

from conaclip_edge.errors import UserError, one_line
from conaclip_edge.export.towers.towers import OtherImageTower


def refusal(tower: OtherImageTower, size: int, title: str, error: Exception) -> UserError:
    """Say that an exporter does not take a tower, and at which layer it stopped, if that can be told.

    Args:
        tower: of a kind without a form of its own.
        size: side of its pictures.
        title: of the target.
        error: of the exporter.
    """
    reason = one_line(f"{type(error).__name__}: {error}".removesuffix("."))[:200]
    layer = _layer(tower, size, str(error))
    at = f" at its layer {layer}" if layer else ""
    return UserError(
        f"{title} does not take this image tower{at} ({reason}). Choose another --target or --set precision=fp32, or "
        "another image tower (student.preset=mobile runs everywhere)."
    )


def _layer(tower: OtherImageTower, size: int, message: str) -> str:
    """Return the path of the first layer that holds an operator which a message names; "" if none does."""
    words = set(re.findall(r"\w+", message))
    try:
        program = torch.export.export(tower, (torch.zeros(1, 3, size, size),))
    except Exception:  # a tower that torch itself cannot trace: its own error is told
        return ""
    for node in program.graph.nodes:
        name = str(getattr(node.target, "__name__", node.target)).partition(".")[0]
        stack = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
        if node.op == "call_function" and name in words and stack:
            return str(stack[-1])
    return ""
