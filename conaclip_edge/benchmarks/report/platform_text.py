"""A choice for a platform in words and numbers; each number is read from the row that has it."""

from __future__ import annotations

from dataclasses import dataclass

from conaclip_edge.benchmarks.report.numbers import Line, Marked, Number, interval
from conaclip_edge.benchmarks.schema.choice import Basis, Choice, PlainExport, Work
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Tower

INPUTS: dict[Tower, str] = {"image": "picture", "text": "query"}
UNKNOWN = "not measured"
BADGES: dict[Basis, str] = {
    "timed": "timed",
    "counted": "counted",
    "format": "not timed",
    "only": "not timed",
    "undecided": "not decided",
    "nothing": "nothing yet",
}


@dataclass(frozen=True)
class Fact:
    """One figure of a choice.

    Attributes:
        name: what it is.
        value: the figure.
        beside: what belongs to it; empty where nothing does.
    """

    name: str
    value: Line
    beside: Line = ()

    @property
    def unknown(self) -> bool:
        """Whether it was not measured."""
        return tuple(self.value) == (UNKNOWN,)


def title(choice: Choice) -> str:
    """Return the name of what is chosen, or what stands in its place."""
    return choice.label or "Nothing yet"


def badge(choice: Choice) -> str:
    """Return in a word or two what the choice stands on."""
    if choice.basis == "format" and choice.work:
        return "timed"
    return BADGES[choice.basis]


def facts(report: BenchmarkReport, choice: Choice) -> list[Fact]:
    """List the figures of a choice in the order in which a reader needs them; what is not known is said."""
    if choice.row is None:
        return []
    row, path = report.row(choice.row), f"rows/{choice.row}"
    found = [_recall(report, choice, path)]
    if row.size_bytes:
        zipped = f"{path}/size_bytes/deflated"
        parts: Line = (" (", Number(f"{zipped}/image", "mb", "plus", f"{zipped}/text"), " zipped)")
        found.append(Fact("Size", (Number(f"{path}/size_bytes/total", "mb"),), parts if choice.deflated_bytes else ()))
    found += [Fact(f"Per {name}", *_spent(report, choice.work, tower)) for tower, name in INPUTS.items()]
    if choice.memory_bytes is None:
        found.append(Fact("Memory", (UNKNOWN,)))
    else:
        memory = f"{path}/peak_rss_bytes"
        of: Line = (" on this machine",) if choice.platform == "Android" else ()
        found.append(Fact("Memory", ("+", Number(f"{memory}/both", "mb", "minus", f"{memory}/runtime")), of))
    if choice.accelerators:
        found.append(_accelerators(report, choice, path))
    elif choice.platform in ("iPhone", "Android"):
        found.append(Fact("Accelerators", (UNKNOWN,)))
    return found


def _recall(report: BenchmarkReport, choice: Choice, path: str) -> Fact:
    """Show the mean recall; of files that ran on a device alone, the picture tower's there."""
    assert choice.row is not None
    row = report.row(choice.row)
    if row.mean_recall is None:
        there = f"{path}/on_device/image/mean_recall"
        return Fact("Recall", (UNKNOWN if choice.mean_recall is None else Number(there, "pct"),))
    ends = f"{path}/mean_interval"
    spread = interval(f"{ends}/0", f"{ends}/1", "pct") if row.mean_interval else ()
    return Fact("Recall", (Number(f"{path}/mean_recall", "pct"),), spread)


def _spent(report: BenchmarkReport, work: Work | None, tower: Tower) -> tuple[Line, Line]:
    """Show what one call takes, and its unit where the number has none."""
    if work is None:
        return (UNKNOWN,), ()
    number = Number(*_cost(report, work, tower))
    if work.unit == "instructions":
        return (number, " M"), (" instructions",)
    return (number, *([" ~"] if report.row(work.row).latency_ms[tower].noisy else [])), ()


def plain_lines(report: BenchmarkReport, choice: Choice) -> list[Line]:
    """Say per tower how a choice compares with the plain export that takes the least and keeps the recall."""
    return [_plain_line(report, choice, choice.work, one) for one in choice.plain if choice.work]


def _plain_line(report: BenchmarkReport, choice: Choice, work: Work, plain: PlainExport) -> Line:
    other, name = report.row(plain.row), INPUTS[plain.tower]
    counted = work.unit == "instructions"
    if counted:
        ratio: Line = (Number(_cost(report, work, plain.tower)[0], "times", "over", _count(plain.row, plain.tower)),)
    else:
        path = f"rows/{work.row}/latency_ms/{plain.tower}/ratio_to/{plain.row}"
        ratio = (Number(f"{path}/median", "times"), *interval(f"{path}/q25", f"{path}/q75", "times"))
    what = "instructions" if counted else "time"
    if plain.takes != "more":
        as_much = ", which is as much" if plain.takes == "as much" else ""
        return (f"For a {name} it takes ", *ratio, f" the {what} of {other.label}, the best plain export{as_much}.")
    size = f"size_bytes/{plain.tower}"
    smaller: Line = ()
    if other.size_bytes and getattr(other.size_bytes, plain.tower):
        smaller = (", at ", Number(f"rows/{work.row}/{size}", "times", "over", f"rows/{plain.row}/{size}"), " its size")
    better = "does less work" if counted else "is faster"
    return (
        Marked(f"{other.label} {better} for a {name}", "strong"),
        f": {choice.label} takes ",
        *ratio,
        f" its {what}",
        *smaller,
        ".",
    )


def _cost(report: BenchmarkReport, work: Work, tower: Tower) -> tuple[str, str]:
    """Return the path and the kind of what one call costs."""
    if work.unit == "instructions":
        return _count(work.row, tower), "millions"
    timed = report.row(work.row).latency_ms[tower]
    return f"rows/{work.row}/latency_ms/{tower}/{'mean' if timed.p50 is None else 'p50'}", "ms"


def _count(row: str, tower: Tower) -> str:
    return f"rows/{row}/on_device/{tower}/instructions/median"


def _accelerators(report: BenchmarkReport, choice: Choice, path: str) -> Fact:
    """Show how many nodes of the picture's and of the query's file each accelerator takes."""
    assert choice.row is not None
    recorded = report.row(choice.row).accelerators
    names = list(dict.fromkeys(one.name for ones in choice.accelerators.values() for one in ones))
    line: list[str | Number | Marked] = []
    for name in names:
        line.append(f"{', ' if line else ''}{name} ")
        entries = [
            f"{path}/accelerators/{tower}/{number}"
            for tower in choice.accelerators
            for number, one in enumerate(recorded[tower])
            if one.name == name
        ]
        for place, entry in enumerate(entries):
            line += [
                " + " if place else "",
                Number(f"{entry}/taken", "count"),
                " of ",
                Number(f"{entry}/nodes", "count"),
            ]
    return Fact("Accelerators", line, (" nodes",))
