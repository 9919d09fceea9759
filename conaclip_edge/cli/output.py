"""What the commands share: options, and where their results go."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from conaclip_edge.errors import Interrupted

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe, target or suite; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, everything else on stderr.")]


@contextmanager
def results(as_json: bool) -> Iterator[Any]:
    """Yield a function that prints the result: JSON or text alone on stdout, whatever libraries print there."""
    from conaclip_edge.system.progress import is_first_process, quiet_libraries

    quiet_libraries()
    stdout = os.dup(1)
    os.dup2(2, 1)  # libraries print to stdout while they work
    try:

        def show(value: Any, text: str) -> None:
            if not is_first_process():
                return
            import json

            if as_json and hasattr(value, "model_dump"):  # a Result; pydantic is not imported for a text
                value = value.model_dump(mode="json", by_alias=True)
            content = json.dumps(value, indent=2, ensure_ascii=False) if as_json else text
            # a file's name may hold bytes that are no UTF-8: in JSON they are escaped so that reading gives them back
            os.write(stdout, (content + "\n").encode("utf-8", "backslashreplace" if as_json else "replace"))

        yield show
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what was saved is kept.") from None
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)
