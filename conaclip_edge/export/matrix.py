"""Which precisions each target can be exported in."""

from __future__ import annotations

from conaclip_edge.errors import UserError

PRECISIONS = {
    "onnx": ("int8", "fp16", "fp32"),
    "executorch": ("int8", "fp32"),
    "coreml": ("int8", "fp16"),
}


def supported(target: str, precision: str) -> bool:
    """Tell whether a target can be exported in a precision."""
    return precision in PRECISIONS[target]


def require_supported(target: str, precision: str) -> None:
    """Refuse a precision that a target has no exporter for.

    Raises:
        UserError: names the possible ones.
    """
    if not supported(target, precision):
        possible = ", ".join(PRECISIONS[target])
        raise UserError(f"target '{target}' cannot be exported in {precision}. Possible: {possible}.")
