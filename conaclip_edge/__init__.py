"""Distil a CLIP-like dual encoder into a phone-sized one, export it in int8 and prove what the files can do.

What a script needs is here; each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conaclip_edge.system.version import __version__ as __version__

if TYPE_CHECKING:
    from conaclip_edge.api import (
        benchmark,
        distill_student,
        evaluate,
        export_bundle,
        index,
        open_index,
        train_teacher,
        verify,
    )
    from conaclip_edge.bundle.open import Bundle, open_bundle

__all__ = [
    "Bundle",
    "benchmark",
    "distill_student",
    "evaluate",
    "export_bundle",
    "index",
    "open_bundle",
    "open_index",
    "train_teacher",
    "verify",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        room = "conaclip_edge.bundle.open" if name in ("Bundle", "open_bundle") else "conaclip_edge.api"
        return getattr(import_module(room), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
