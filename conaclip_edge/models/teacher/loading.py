"""Using a part of a teacher that lies on disk: what goes wrong becomes one line that says which file to fetch again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from conaclip_edge.errors import UserError

T = TypeVar("T")

# part -> the files that are damaged, or of another model, where it cannot be used
_FILES_OF = {
    "config": "config.json",
    "weights": "config.json and the safetensors",
    "tokenizer": "the tokenizer's files",
    "image processor": "preprocessor_config.json",
    "text tower": "config.json and the tokenizer's files",
    "image tower": "config.json and preprocessor_config.json",
}


def use(part: str, source: str, load: Callable[[], T]) -> T:
    """Call what loads or runs a part of a teacher.

    Args:
        part: a key of `_FILES_OF`.
        source: of the teacher, for the error.
        load: raises anything.

    Raises:
        UserError: it did.
    """
    try:
        return load()
    except Exception as error:  # what a broken file raises differs with the part and the family
        raise UserError(
            f"teacher {source}: cannot use its {part}: {one_line(error)}. Fetch {_FILES_OF[part]} of this model again."
        ) from error


def one_line(error: Exception) -> str:
    """Return an error's type and message as one line of some 200 characters."""
    text = " ".join(str(error).split()).removesuffix(".")
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:200] + ' ...'}"
