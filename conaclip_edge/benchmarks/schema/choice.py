"""What a report says of a platform: which files to take there, what is known of them, and what is not."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from conaclip_edge.benchmarks.schema.row import Direction, Tower
from conaclip_edge.benchmarks.schema.spread import Interval
from conaclip_edge.bundle.card.accelerators import Accelerator
from conaclip_edge.system.result import Result

Platform = Literal["iPhone", "Android", "Browser", "Server"]
Basis = Literal["timed", "counted", "format", "only", "undecided", "nothing"]
Verdict = Literal["less", "as much", "more"]


class Work(Result):
    """What one picture and one query cost somewhere.

    Attributes:
        row: id of the report's row that has the figures.
        unit: "ms" are timed, "instructions" counted.
        where: name of the phone, the machine or the emulated device.
        picture: of one call of the picture tower.
        query: of one call of the text tower.
    """

    row: str
    unit: Literal["ms", "instructions"]
    where: str
    picture: float
    query: float


class PlainExport(Result):
    """Of the plain exports that keep the recall, the one whose tower costs the least in the same place.

    Attributes:
        tower: which.
        row: id of its row.
        ratio: cost of the chosen files' tower over its, in the unit of their work.
        takes: what it takes beside them; "as much" where the ratio is nearer to 1 than it is known: two standard errors
            of the median over rounds, and at least the precision that the suite measures medians to.
    """

    tower: Tower
    row: str
    ratio: float
    takes: Verdict


class Choice(Result):
    """The files of a bundle for one platform.

    Attributes:
        platform: where the app runs.
        basis: what decided: the platform's own times, counted instructions, the one format that the platform takes,
            that the bundle has no other files for it, nothing yet ("undecided"), or that there is nothing to choose.
        row: id of the report's row of these files; None where nothing is chosen.
        label: their name, or the names among which nothing decides.
        files: where they lie in the bundle, e.g. "onnx/*.int8.onnx".
        why: a sentence without numbers.
        mean_recall: mean of the six recalls, in percent; None where it was not measured.
        mean_interval: its 95 % interval.
        pictures: that it was measured on.
        relative_recall: share of the float32 student's recall that is left, each way.
        size_bytes: of both files.
        deflated_bytes: of both as an app store delivers them; None in a report that has not measured it.
        work: None where nothing was timed or counted.
        memory_bytes: what both files add to a process of the report's own machine.
        accelerators: tower -> what the platform's accelerators would take of it, by tables.
        plain: the plain exports that it is compared with, the picture's first.
        unmeasured: sentences on what is not known.
        next: command that measures, or makes, the most important of it; "" where there is none.
    """

    platform: Platform
    basis: Basis
    row: str | None = None
    label: str = ""
    files: str = ""
    why: str
    mean_recall: float | None = None
    mean_interval: tuple[float, float] | None = None
    pictures: int | None = None
    relative_recall: dict[Direction, Interval] = Field(default_factory=dict)
    size_bytes: int | None = None
    deflated_bytes: int | None = None
    work: Work | None = None
    memory_bytes: int | None = None
    accelerators: dict[Tower, tuple[Accelerator, ...]] = Field(default_factory=dict)
    plain: tuple[PlainExport, ...] = ()
    unmeasured: tuple[str, ...] = ()
    next: str = ""
