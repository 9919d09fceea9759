"""From the content of a JSON file to a report: the error names the file and the first thing that is wrong."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from conaclip_edge.errors import UserError
from conaclip_edge.system.result import Result

R = TypeVar("R", bound=Result)


def parse_json(kind: type[R], values: object, where: str, needed: str) -> R:
    """Check the content of a JSON file.

    Args:
        kind: what it should be.
        values: the content.
        where: names the file in the error.
        needed: ends the error, e.g. "A report of schema conaclip-edge/report/2 is needed."

    Raises:
        UserError: a key or a value does not fit.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "document"
        raise UserError(f"{where}: '{key}': {first['msg']}. {needed}") from None
