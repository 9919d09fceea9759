"""Where the reports of a bundle go."""

from __future__ import annotations

from pathlib import Path


def default_report(bundle: Path, device: str | None = None) -> Path:
    """Return where the report of a bundle goes without --out: `report` beside `bundle`, else `<name>.report`."""
    name = "report" if bundle.name == "bundle" else f"{bundle.name.removesuffix('.bundle')}.report"
    return bundle.with_name(f"{name}-{device}" if device else name)
