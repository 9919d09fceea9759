"""Fields of JSON documents whose shape has to be what the format says."""

from __future__ import annotations

from typing import Any, TypeVar

from conaclip_edge.errors import UserError

T = TypeVar("T")


def field(item: Any, name: str, kind: type[T], where: str) -> T:
    """Return a field of an object; an item that is no object or a field of another kind is a UserError with `where`."""
    value = item.get(name) if isinstance(item, dict) else None
    if not isinstance(value, kind):
        given = f"it is {str(value)[:80]!r}" if isinstance(item, dict) and name in item else "it is missing"
        raise UserError(f"{where}: '{name}' must be a {kind.__name__}, but {given}. Correct data.format or the file.")
    return value
