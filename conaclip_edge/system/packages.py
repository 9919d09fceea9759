"""Files that pip packages carry."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from conaclip_edge.errors import UserError


def package_folder(module: str, package: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(f"the package {package} is not installed. Get it: pip install '{package}'")
    return Path(spec.origin).parent
