"""How many broken pictures a data set may have."""

from __future__ import annotations

from conaclip_edge.errors import UserError
from conaclip_edge.system.progress import say


def check_bad(bad: list[str], total: int, max_bad: float, name: str) -> None:
    """Name the pictures that are left out, and refuse the data set if they are too many."""
    if not bad:
        return
    shown = "; ".join(bad[:5]) + (f"; and {len(bad) - 5} more" if len(bad) > 5 else "")
    if len(bad) > max_bad * total:
        raise UserError(
            f"data set '{name}': {len(bad)} of {total} pictures cannot be used, more than max_bad = {max_bad:.1%}: "
            f"{shown}. Mend them, or raise data.max_bad."
        )
    say(f"{len(bad)} of {total} pictures left out: {shown}")
