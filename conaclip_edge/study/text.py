"""A study's result as text for a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def study_table(found: dict[str, Any], out: Path) -> str:
    """Format what `study` gives: the table, the path, the sweeps and the test."""
    data = found["dataset"]
    sizes = ", ".join(f"{data[split]['pictures']} {split}" for split in ("train", "val", "test"))
    lines = [
        f"{data['name']}: {sizes} pictures; {found['config']['seeds']} seeds; {found['runs']['all']} runs, "
        f"{found['run_seconds'] / 60:.0f} min of training",
        "mean of the six recalls on val, standard deviation over the seeds, difference to the baseline [95 %]",
        _line("baseline", found["baseline"]),
        *(_line(f"+ {cell}", row) for cell, row in found["cells"].items()),
    ]
    if found["path"]:
        lines.append("path (added one after the other; stays if the mean rises)")
        lines += [
            _line(f"+ {step['cell']} {'kept' if step['kept'] else 'left out'}", step["row"]) for step in found["path"]
        ]
    for axis, rows in found["sweeps"].items():
        lines += [_line(f"{axis} x {one['factor']:g}", one["row"]) for one in rows]
    lines += [_line(f"{one['name']}, {one['parameters']:,} p.", one["row"]) for one in found["sizes"]]
    lines.append("on test")
    lines += [_line(name, rows["test"]) for name, rows in found["test"].items()]
    cells = " + ".join(found["final"]["cells"]) or "nothing"
    return "\n".join([*lines, f"final graph: baseline + {cells}. Page: {out / 'study.html'}"])


def _line(name: str, row: dict[str, Any]) -> str:
    spread = "" if row["spread"] is None else f" +- {row['spread']:.1f}"
    mean = f"{row['mean']:.1f}{spread}"
    low, high = row["interval_95"]
    interval = f"{row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"  {name:32}{mean:>16}{interval:>24}"
