"""Which precisions each target can be exported in, and what they mean there."""

from __future__ import annotations

from conaclip_edge.errors import UserError

# target -> precision -> what is done
MATRIX: dict[str, dict[str, str]] = {
    "onnx": {
        "fp32": "as trained",
        "fp16": "weights and activations float16, normalisation float32",
        "int8": "linear layers: int8 weights, activations quantised as they come; convolutions and token table: int8 "
        "weights, float arithmetic",
    },
    "executorch": {
        "fp32": "as trained",
        "int8": "linear layers and 1x1 convolutions: int8 weights, activations quantised as they come; other "
        "convolutions: weights and activations int8 with calibrated ranges; token table: int8 rows, float arithmetic",
    },
    "coreml": {
        "fp16": "weights and activations float16",
        "int8": "int8 weights, float16 arithmetic; or int8 activations too in the image tower, with calibrated "
        "ranges, where they do no harm",
    },
}


def supported(target: str, precision: str) -> None:
    """Refuse a combination of target and precision that no runtime of the target runs.

    Raises:
        UserError: it is not in the matrix; names those that are.
    """
    known = MATRIX[target]
    if precision not in known:
        raise UserError(
            f"target '{target}' has no precision '{precision}'. Known: {', '.join(sorted(known))}. "
            f"'{precision}' is possible for: {', '.join(sorted(t for t, p in MATRIX.items() if precision in p))}."
        )
