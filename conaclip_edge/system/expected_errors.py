"""What Python raises where the user can mend it: a package that is not installed, a path that cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from conaclip_edge.errors import UserError
from conaclip_edge.system.extras import extras_needed


@contextmanager
def expected_errors() -> Iterator[None]:
    """Turn a missing extra, and a path that the system refuses, into errors of one line; also a decorator.

    Most paths are checked where they are used, and the error says more there. This is for what no check looks for: a
    name that is too long, a link in a circle, a disk that fails.

    Raises:
        NotInstalled: the block imported something of an extra that is not installed, or is broken.
        UserError: the system refused a path; which one, and why.
    """
    try:
        with extras_needed():
            yield
    except OSError as error:
        if not isinstance(error.filename, str | bytes) or not error.strerror:
            raise
        raise UserError(
            f"cannot use {os.fsdecode(error.filename)}: {error.strerror}. Correct the path, or what is there."
        ) from error
