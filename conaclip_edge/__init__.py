"""Distil a CLIP-like dual encoder into a phone-sized one, export it in int8 and prove what the files can do.

The functions that a script needs are here, named like the commands; each is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conaclip_edge.system.version import __version__ as __version__

if TYPE_CHECKING:
    from conaclip_edge.api import open_bundle

__all__ = ["open_bundle"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module("conaclip_edge.api"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
