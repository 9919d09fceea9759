"""How onnxruntime says that it cannot write a file: it has no type of error for that."""

from __future__ import annotations

import re

_SAID = re.compile("Failed to (save|write)|Protobuf serialization failed")


def could_not_write(message: str) -> bool:
    """Tell an error of a full disk, or of a folder that may not be written, from any other of onnxruntime."""
    return _SAID.search(message) is not None
