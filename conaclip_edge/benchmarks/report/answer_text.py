"""What a report says first: which files for which platform, what their recall is worth, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conaclip_edge.benchmarks.answer.platforms import decide
from conaclip_edge.benchmarks.answer.recall_verdict import beside_recall, judged_row, recall_verdict
from conaclip_edge.benchmarks.report.numbers import ABSENT, Line, Marked, Number, ReportValues, interval, percent
from conaclip_edge.benchmarks.report.platform_text import badge, facts, plain_lines, title
from conaclip_edge.benchmarks.report.tables.ann_tables import ann_answer
from conaclip_edge.benchmarks.schema.choice import Choice
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Direction, ReportRow
from conaclip_edge.benchmarks.schema.row_ids import STUDENT, TEACHER
from conaclip_edge.models.certainty import LEAST_PICTURES

DIRECTIONS: dict[Direction, str] = {"t2i": "from text to picture", "i2t": "from picture to text"}
_NOT_NAMED = "So no file is named for iPhone, Android, browser or server."
_COLUMNS = ("Recall", "Size", "Per picture", "Per query", "Memory")


@dataclass(frozen=True)
class Opening:
    """How a report begins.

    Attributes:
        title: in a few words.
        lead: a sentence.
        more: what follows it, a paragraph each.
        choices: what is chosen for each platform; nothing where nothing can be chosen.
    """

    title: str
    lead: str
    more: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()


def opening(report: BenchmarkReport) -> Opening:
    """Say what a report answers, or why it cannot."""
    if report.ann and not report.rows:
        return Opening(f"Search on {report.environment.label}", ann_answer(report.ann))
    verdict = recall_verdict(report)
    if verdict == "too few":
        return _too_few(report)
    if verdict == "at chance":
        return _at_chance(report)
    choices = decide(report)
    if not any(choice.row or choice.basis == "undecided" for choice in choices):
        return Opening("Nothing to ship yet", "The table shows how far each file is.", choices=choices)
    more = () if report.dataset else (_without_recall(report),)
    return Opening("Which files to ship", _phones(report, choices), more, choices)


def answer(report: BenchmarkReport) -> str:
    """Return in Markdown what a report says first."""
    found = opening(report)
    if not found.choices:
        return "\n\n".join([f"**{found.title}.** {found.lead}" if report.rows else found.lead, *found.more])
    values = ReportValues(report)
    parts = [
        _table(report, found.choices, values),
        " ".join([found.lead, *found.more]),
        *_bullets(report, found.choices, values),
    ]
    if worth := recall_worth(report, found.choices):
        parts.append(values.text([*worth.definition, " ", *worth.beside, " ", *worth.found], markdown=True))
    return "\n\n".join(part for part in parts if part)


def answer_lines(report: BenchmarkReport) -> list[str]:
    """Return what a report says first, as short lines for a terminal."""
    found = opening(report)
    if not found.choices:
        return [f"{found.title}: {found.lead}", *found.more]
    values = ReportValues(report)
    width = max(len(title(choice)) for choice in found.choices) + 2
    lines = []
    for choice in found.choices:
        known = [fact for fact in facts(report, choice) if not fact.unknown]
        shown = {fact.name: values.text([*fact.value, *fact.beside]) for fact in known}
        parts = [f"{name.lower()} {shown[name]}" for name in _COLUMNS[:4] if name in shown]
        parts += [badge(choice)] if badge(choice) not in ("timed", "counted") else []
        lines.append(f"{choice.platform:9}{title(choice):{width}}{'; '.join(parts)}")
    lines += [found.lead, *found.more]
    for choice in found.choices:
        for one, line in zip(choice.plain, plain_lines(report, choice), strict=True):
            lines += [f"{choice.platform}: {values.text(line)}"] if one.takes == "more" else []
    lines += [f"Next for {choice.platform}: {choice.next}" for choice in found.choices if choice.next]
    worth = recall_worth(report, found.choices)
    return [*lines, *(values.text(line) for line in ((worth.found, worth.beside) if worth else ()) if line)]


@dataclass(frozen=True)
class RecallWorth:
    """What the recall of the chosen files is worth.

    Attributes:
        definition: what it is, and on how many pictures.
        beside: chance, the teacher's and the float32 model's.
        found: what it means for a person who searches, and how much of the float32 model's is left.
    """

    definition: Line
    beside: Line
    found: Line


def recall_worth(report: BenchmarkReport, choices: Sequence[Choice]) -> RecallWorth | None:
    """Say what recall is and beside what it stands; None where it was not measured of what is chosen."""
    chosen = next((choice.row for choice in choices if choice.row and report.row(choice.row).recall), None)
    if report.dataset is None or chosen is None:
        return None
    row, path = report.row(chosen), f"rows/{chosen}"
    pictures, captions = Number("dataset/pictures", "count"), Number("dataset/captions", "count")
    definition = (
        "Recall is the mean of how often the right one is among the first 1, 5 and 10, from text to picture and back, "
        "over ",
        pictures,
        " held-out pictures with ",
        captions,
        " captions.",
    )
    parts: list[Line] = []
    if report.dataset.chance is not None:
        parts.append(("chance gives ", Number("dataset/chance", "pct")))
    for name, what in ((TEACHER, "the teacher"), (STUDENT, f"the {float_model(report)}")):
        if any(one.id == name and one.mean_recall is not None for one in report.rows):
            parts.append((f"{what} {'' if parts else 'gives '}", Number(f"rows/{name}/mean_recall", "pct")))
    beside = [word for number, part in enumerate(parts) for word in ((", " if number else "Beside it: "), *part)]
    found: list[str | Number | Marked] = [f"With {row.label}, ", Number(f"{path}/recall/t2i/10", "pct")]
    found.append(" of the captions find their picture among the first ten.")
    for number, direction in enumerate(row.relative_recall.get("student", {})):
        ends = f"{path}/relative_recall/student/{direction}"
        found += [" and " if number else " It keeps ", Number(f"{ends}/value", "share")]
        found += [*interval(f"{ends}/low", f"{ends}/high", "share"), f" {DIRECTIONS[direction]}"]
    if row.relative_recall.get("student"):
        found.append(f" of the {float_model(report)}'s recall.")
    return RecallWorth(definition, [*beside, "."] if beside else (), found)


def recall_bars(report: BenchmarkReport, choices: Sequence[Choice]) -> list[ReportRow]:
    """Return the rows whose recall the page draws side by side: teacher, float32 model, and what is chosen."""
    order = [TEACHER, STUDENT, *(choice.row for choice in choices if choice.row)]
    rows = {row.id: row for row in report.rows if row.mean_recall is not None}
    return [rows[name] for name in dict.fromkeys(order) if name in rows]


def float_model(report: BenchmarkReport) -> str:
    """Name the float32 model that the files were exported from: a student, or a model that was not distilled."""
    label = next((row.label for row in report.rows if row.id == STUDENT), "")
    return "float32 student" if label == "Student float32" else "float32 model"


def _without_recall(report: BenchmarkReport) -> str:
    """Say why a report has no recall, and how to get it."""
    if report.environment.kind == "phone" or all(row.device for row in report.rows):
        return (
            "Recall was not measured here. Merge this report with one of a host, which has it: "
            "conaclip-edge report host/report.json report.json"
        )
    return (
        "Recall was not measured: the data have no captions. Name captioned pictures that the student has not seen: "
        f"conaclip-edge benchmark {report.model.bundle} --data FOLDER"
    )


def _phones(report: BenchmarkReport, choices: Sequence[Choice]) -> str:
    """Say which phones were timed; where none was, what stands in for them."""
    labels = [one.label for one in (report.environment, *report.other_environments) if one.kind == "phone"]
    if labels:
        timed = {choice.platform for choice in choices if choice.basis == "timed"}
        others = [f"no {name} phone" if name == "Android" else f"no {name}" for name in ("iPhone", "Android")]
        rest = [text for text in others if text.split()[1] not in timed]
        return f"Timed on {' and '.join(labels)}{f'; {rest[0]} was timed' if len(rest) == 1 else ''}."
    counted = [choice.platform for choice in choices if choice.basis == "counted" and choice.platform != "Server"]
    if not counted:
        return "No phone was timed, and no instructions were counted on arm64, the processor of phones."
    decided_by = "is decided" if len(counted) == 1 else "are decided"
    return (
        f"No phone was timed. {' and '.join(counted)} {decided_by} by instructions counted on arm64, which are no time."
    )


def _too_few(report: BenchmarkReport) -> Opening:
    row = judged_row(report)
    beside = beside_recall(report, row) if row else None
    found = ""
    if row and beside:
        judged = ": at chance" if beside.at_chance else ""
        found = f"Mean recall of {row.label}: {_mean(row)}, where chance alone gives {percent(beside.chance)}{judged}. "
    pictures = report.dataset.pictures if report.dataset else 0
    return Opening(
        "Too few pictures to tell",
        f"{pictures} held-out pictures are too few to tell what recall is left, or a good model from a poor one.",
        (
            f"{found}{_NOT_NAMED} Size, latency and memory are known.",
            f"Measure on more captioned pictures that the student has not seen ({LEAST_PICTURES} at least, some "
            "hundred are better): conaclip-edge benchmark --data FOLDER, or give val and test more of yours.",
        ),
    )


def _at_chance(report: BenchmarkReport) -> Opening:
    row = judged_row(report)
    assert row is not None
    assert report.dataset is not None
    assert report.dataset.chance is not None
    look = (
        "Train longer or on more pictures, and look at the teacher's own recall: conaclip-edge evaluate TEACHER --data "
        "FOLDER."
        if any(row.id == TEACHER for row in report.rows)
        else "Look whether the captions are in a language that the model reads, and belong to their pictures."
    )
    found = f"Mean recall of {row.label}: {_mean(row)}; a random order gives {percent(report.dataset.chance)}."
    return Opening("The model is at chance", found, (f"No export can keep what is not there. {_NOT_NAMED}", look))


def _mean(row: ReportRow) -> str:
    low, high = row.mean_interval or (0.0, 0.0)
    return f"{percent(row.mean_recall or 0.0)} [{low:.1f} to {high:.1f}]"


def _table(report: BenchmarkReport, choices: Sequence[Choice], values: ReportValues) -> str:
    lines = [f"| platform | files | {' | '.join(name.lower() for name in _COLUMNS)} |", f"|{'---|' * 7}"]
    for choice in choices:
        shown = {fact.name: values.text([*fact.value, *fact.beside]) for fact in facts(report, choice)}
        name = f"**{title(choice)}**" if choice.row else title(choice)
        cells = [shown.get(column, ABSENT) for column in _COLUMNS]
        lines.append(f"| {choice.platform} | {name.replace('|', chr(92) + '|')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _bullets(report: BenchmarkReport, choices: Sequence[Choice], values: ReportValues) -> list[str]:
    """Say per platform why, how plain exports compare, and what was not measured."""
    lines = []
    for choice in choices:
        parts = [choice.why, *(values.text(line, markdown=True) for line in plain_lines(report, choice))]
        if choice.unmeasured:
            parts.append(f"Not measured: {'; '.join(choice.unmeasured)}.")
        if choice.next:
            parts.append(f"Next: `{choice.next}`")
        lines.append(f"- **{choice.platform}**: {' '.join(parts)}")
    return ["\n".join(lines)]
