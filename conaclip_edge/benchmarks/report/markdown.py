"""A report as text: report.md, the table on the terminal, and benchmarks/README.md made from stored reports."""

from __future__ import annotations

from collections.abc import Mapping

from conaclip_edge.benchmarks.report.ann_tables import ann_answer, ann_table
from conaclip_edge.benchmarks.report.numbers import ABSENT, TO, megabytes, milliseconds, percent, share, times
from conaclip_edge.benchmarks.schema.report import (
    TEACHER,
    Environment,
    Interval,
    Latency,
    RecallTable,
    Report,
    Row,
    Tower,
    Way,
)


def render_markdown(report: Report) -> str:
    """Render a report as Markdown."""
    parts = [f"# {report.model.name}: what its exported files can do", answer(report)]
    if report.rows:
        parts += ["## Rows", rows_table(report)]
    if report.ann:
        parts += ["## The index's graph", *([ann_answer(report.ann)] if report.rows else []), ann_table(report.ann)]
    if any(row.relative_recall for row in report.rows):
        parts += ["## Recall kept", _kept_table(report)]
    if any(row.group == "training" for row in report.rows):
        parts += ["## Training: the same budget, other graphs", _training_table(report)]
    parts += ["## Where", *(_environment(one) for one in (report.environment, *report.other_environments))]
    if report.dataset:
        data = report.dataset
        parts.append(
            f"Data: {data.name}, split {data.split}, {data.pictures} pictures, {data.captions} captions "
            f"(`{data.fingerprint[:16]}`). {data.licence}".rstrip()
        )
    return "\n\n".join(parts) + "\n"


_WAYS: dict[Way, str] = {"t2i": "text-to-picture", "i2t": "picture-to-text"}


def answer(report: Report) -> str:
    """Say in a paragraph what to ship."""
    if report.ann and not report.rows:
        return ann_answer(report.ann)
    if not report.dataset:
        return f"Speed on {report.environment.label}; recall was not measured there."
    if not report.ship:
        return (
            f"Nothing to ship yet: no natively run int8 row reaches {share(report.suite.min_relative_recall)} of the "
            "float32 student's recall in both directions, not even with its interval."
        )
    row = report.row(report.ship)
    assert row.recall is not None
    text = f"Ship **{row.label}**: the right picture is among the first ten for {percent(row.recall['t2i']['10'])} of"
    text += f" {report.dataset.captions} captions over {report.dataset.pictures} held-out pictures"
    if "student" in row.relative_recall:
        least = report.suite.min_relative_recall
        parts = []
        for side, kept in row.relative_recall["student"].items():
            short = f" (below {share(least)}, which the interval reaches)" if kept.value < least else ""
            parts.append(f"{_interval(kept)} of the float32 student's {_WAYS[side]} recall{short}")
        text += f"; it keeps {' and '.join(parts)}"
    if "teacher" in row.relative_recall:
        text += f", {_interval(row.relative_recall['teacher']['t2i'])} of the teacher's text-to-picture recall"
    return (
        f"{text}. A picture takes {_time(row, 'image')}, a query {_time(row, 'text')} (one thread of {row.host}); both "
        f"files together are {_size(row)}.{_against(report, row)}"
    )


def rows_table(report: Report) -> str:
    """Tabulate every row that was benchmarked."""
    lines = [
        "| row | run | size | text to picture R@1 / 5 / 10 | picture to text R@1 / 5 / 10 | picture | query | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report.rows:
        if row.group == "training":
            continue
        label = report.name(row)
        cells = [
            f"**{label}**" if row.id == report.ship else label,
            "not run" if row.executed == "no" else row.executed,
            _size(row),
            _recall(row.recall, "t2i"),
            _recall(row.recall, "i2t"),
            _time(row, "image"),
            _time(row, "text"),
            megabytes(row.peak_rss_bytes.both) if row.peak_rss_bytes else ABSENT,
        ]
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    notes = [f"- {report.name(row)}: {note}" for row in report.rows if row.group != "training" for note in row.notes]
    lines += [
        "",
        _LEGEND,
        *(["", *notes] if notes else []),
    ]
    return "\n".join(lines)


def summary_table(report: Report) -> str:
    """Format the first table of a report for a terminal."""
    if report.ann and not report.rows:
        return ann_table(report.ann)
    names = [report.name(row) for row in report.rows if row.group != "training"]
    width = max(map(len, names), default=0) + 2
    lines = [
        f"{'':{width}}{'t2i R@1/5/10':>20}{'i2t R@1/5/10':>20}{'picture':>11}{'query':>11}{'size':>10}{'memory':>9}"
    ]
    for row in report.rows:
        if row.group == "training":
            continue
        memory = megabytes(row.peak_rss_bytes.both) if row.peak_rss_bytes else ABSENT
        ways = "".join(f"{_recall(row.recall, way):>20}" for way in ("t2i", "i2t"))
        mark = "> " if row.id == report.ship else "  "
        lines.append(
            f"{mark + report.name(row):{width}}{ways}{_time(row, 'image'):>11}{_time(row, 'text'):>11}"
            f"{_size(row):>10}{memory:>9}"
        )
    if report.ship:
        bar = share(report.suite.min_relative_recall)
        lines.append(f"> is what to ship: the fastest native int8 row whose recall may be {bar} of the student's")
    return "\n".join(lines)


def render_readme(results: Mapping[str, Report]) -> str:
    """Render benchmarks/README.md from stored reports.

    Args:
        results: name of the file in benchmarks/results -> report.
    """
    parts = [_INTRODUCTION]
    for name, report in sorted(results.items()):
        parts += [
            f"## {name}",
            answer(report),
            *([rows_table(report)] if report.rows else []),
            *([ann_table(report.ann)] if report.ann else []),
            *(
                ["Recall kept, with 95 % intervals:", _kept_table(report)]
                if any(r.relative_recall for r in report.rows)
                else []
            ),
            *(["The same budget, other graphs:", _training_table(report)] if _trained(report) else []),
            *(_environment(one) for one in (report.environment, *report.other_environments)),
            f"Made by `conaclip-edge benchmark` (suite {report.suite.name}) on {report.created[:10]}; all of it is in "
            f"`results/{name}.json`.",
        ]
    return "\n\n".join(parts) + "\n"


_LEGEND = """\
Recall in percent. Latency: median of one call at batch 1 on one thread, texts at their own lengths; ~ marks times
that spread more than the suite allows. Memory: peak of a fresh Python process with both towers. native: run by the
platform's own runtime; reference: by an interpreter of the same program, which says nothing about speed."""

_INTRODUCTION = """\
# Benchmarks

This page is rendered from `results/*.json`; a test holds it to them. What is measured is the files that ship.

```
conaclip-edge benchmark runs/demo/bundle                  # report.json, report.md, report.html
conaclip-edge report host.json phone.json --out runs/both # rows of several machines in one report
conaclip-edge report new.json --check old.json            # exit code 1 where recall or a latency ratio got worse
conaclip-edge benchmark BUNDLE --device android           # an attached phone, by adb
conaclip-edge benchmark BUNDLE --device ios               # what to run on a Mac with an iPhone; imports its result
```

- **Recall** is measured by running each file on the held-out split, one picture or text a call, both directions. Any
  caption of a picture counts, a tie counts against the query. What is left of the float32 student's and the teacher's
  recall comes with a paired bootstrap interval, also for each tower alone.
- **Latency**: all rows are loaded side by side and run in interleaved rounds, each once a round in random order, on
  real pictures and on captions at even quantiles of the corpus's lengths. A ratio is the median of the rounds' ratios.
  Rounds go on until every median is known well enough or the suite's time is up; times that spread more than the suite
  allows are marked ~.
- **Cold start and memory**: fresh processes that load one file and run it once; their own peak, not their parent's.
- **native** is the platform's own runtime; **reference** is an interpreter of the exported program, which shows recall
  and never speed. A figure of a host is never called one of a phone.
- Suites are in `suites/`: what is measured, how often, and what it is compared with."""


def _trained(report: Report) -> bool:
    return any(row.group == "training" for row in report.rows)


def _kept_table(report: Report) -> str:
    lines = [
        "| row | exported | student, text to picture | student, picture to text | teacher, text to picture "
        "| teacher, picture to text |",
        "|---|---|---|---|---|---|",
    ]
    for row in report.rows:
        if not row.relative_recall:
            continue
        found = [row.relative_recall.get(side, {}) for side in ("student", "teacher")]
        cells = [_interval(side.get(way)) for side in found for way in ("t2i", "i2t")]
        lines.append(f"| {report.name(row)} | {'both' if row.format else 'nothing'} | {' | '.join(cells)} |")
        for tower, alone in row.alone.items():
            cells = [_interval(alone.relative_recall.get(way)) for way in ("t2i", "i2t")]
            name = {"image": "picture", "text": "text"}[tower]
            lines.append(f"| {report.name(row)} | {name} tower | {' | '.join(cells)} | {ABSENT} | {ABSENT} |")
    return "\n".join(lines)


def _training_table(report: Report) -> str:
    lines = [
        "| model | text to picture R@1 / 5 / 10 | picture to text R@1 / 5 / 10 | mean | seeds |",
        "|---|---|---|---|---|",
    ]
    for row in report.rows:
        if row.group == "training":
            budget = row.equal_budget or {}
            spread = f" ± {budget['spread']:.1f}" if budget.get("spread") is not None else ""
            lines.append(
                f"| {row.label} | {_recall(row.recall, 't2i')} | {_recall(row.recall, 'i2t')} "
                f"| {row.mean_recall:.1f}{spread} | {budget.get('seeds') or ABSENT} |"
            )
    return "\n".join(lines)


def _environment(found: Environment) -> str:
    parts = [found.os, f"{found.cores} cores" if found.cores else "", ", ".join(found.isa)]
    load = f"load {found.load} at the start" if found.load is not None else ""
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    kind = "Phone" if found.kind == "phone" else "Machine"
    return f"{kind}: {found.cpu}; {'; '.join(part for part in (*parts, load, versions) if part)}."


def _against(report: Report, row: Row) -> str:
    """Say how a row compares with the teacher, where both were timed in the same rounds."""
    image, text = (_ratio(row.latency_ms.get(tower)) for tower in ("image", "text"))
    teacher = next((other for other in report.rows if other.id == TEACHER), None)
    if image is None or text is None or teacher is None or not teacher.size_bytes or not row.size_bytes:
        return ""
    smaller = teacher.size_bytes.total / row.size_bytes.total
    return (
        f" The teacher takes {times(1 / image)} as long for a picture and {times(1 / text)} for a query, and is "
        f"{times(smaller)} as large."
    )


def _ratio(found: Latency | None) -> float | None:
    return found.ratio_to[TEACHER].median if found and TEACHER in found.ratio_to else None


def _interval(found: Interval | None) -> str:
    return f"{share(found.value)} [{100 * found.low:.1f}{TO}{100 * found.high:.1f}]" if found else ABSENT


def _recall(found: RecallTable | None, way: Way) -> str:
    return " / ".join(f"{value:.1f}" for value in found[way].values()) if found else ABSENT


def _time(row: Row, tower: Tower) -> str:
    found = row.latency_ms.get(tower)
    if found is None:
        return ABSENT
    value = milliseconds(found.p50) if found.p50 is not None else f"mean {milliseconds(found.mean)}"
    return value + (" ~" if found.noisy else "")


def _size(row: Row) -> str:
    return megabytes(row.size_bytes.total) if row.size_bytes else ABSENT


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
