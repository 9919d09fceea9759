"""The captions of a row: which columns hold them, one text or a list of texts, also a list written into a cell."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conaclip_edge.data.rows.source_row import BadRow, clean
from conaclip_edge.system.progress import say

# the first of these that has any counts, with its numbered ones (caption, caption_1, caption2)
CAPTION_COLUMNS = (
    *("captions", "caption", "texts", "text", "sentences", "sentence"),
    *("descriptions", "description", "alt_text"),
)
_NUMBERED = re.compile(r"(.*?)[ _.-]?(\d*)")
# between quoted texts: commas, as Python and JSON have them, or blanks alone, as NumPy prints an array
_PART = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|[\s,]+""", re.DOTALL)


def caption_columns(names: Iterable[object]) -> list[list[str]]:
    """Return the columns that may hold captions.

    Args:
        names: of all columns, in any case.

    Returns:
        Groups, the one that counts first in front: `caption` with `caption_1` and `caption2` is one, `text` another.
    """
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        if isinstance(name, str) and (match := _NUMBERED.fullmatch(name.strip().lower())):
            groups.setdefault(match[1], []).append((int(match[2][:9] or -1), name))
    return [[name for _, name in sorted(groups[base])] for base in CAPTION_COLUMNS if base in groups]


def captions_in(row: Mapping[str, Any]) -> list[str]:
    """Return the captions in the first group of caption columns that has any.

    Args:
        row: column names and values; a caption column holds a text, a list of texts (also one written as text, as
            JSON, Python or NumPy print it), or nothing.

    Raises:
        BadRow: such a column holds any other value.
    """
    for group in caption_columns(row):
        if captions := clean(text for column in group for text in _texts(row[column], column)):
            return captions
    return []


def say_columns(source: Path, names: Sequence[str]) -> None:
    """Say on stderr which columns captions are taken from, where it is not the only one that may hold them."""
    groups = caption_columns(names)
    if len(groups) > 1 or any(len(group) > 1 for group in groups):
        others = ", ".join(name for group in groups[1:] for name in group)
        also = f"; {others} only where that is empty" if others else ""
        say(f"data: captions of {source} are those in {', '.join(groups[0])}{also}.")


def _texts(value: Any, column: str) -> list[str]:
    if isinstance(value, str):
        return _written_list(value)
    texts = list(value) if isinstance(value, list | tuple) else value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRow(f"'{column}' must be a text or a list of texts, not {str(value)[:80]!r}")
    return texts


def _written_list(text: str) -> list[str]:
    """Return the texts of a list that is written into a cell; any other text is itself the only one."""
    inner = text.strip()
    if inner[:1] + inner[-1:] not in ("[]", "()"):
        return [text]
    try:
        found = json.loads(inner)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and all(isinstance(each, str) for each in found):
        return found
    texts, start, end = [], 1, len(inner) - 1
    while start < end:
        part = _PART.match(inner, start, end)
        if part is None:
            return [text]
        if part[1]:
            texts.append(_unquoted(part[1]))
        start = part.end()
    return texts or [text]


def _unquoted(literal: str) -> str:
    try:
        return str(ast.literal_eval(literal))
    except (ValueError, SyntaxError):  # a line break within quotes, or an escape that Python does not know
        return literal[1:-1]
