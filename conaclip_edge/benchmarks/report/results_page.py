"""docs/results/benchmarks.md, rendered from stored reports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from conaclip_edge.benchmarks.report.answer_text import answer
from conaclip_edge.benchmarks.report.markdown import (
    environment_line,
    has_relative_recall,
    has_training,
    relative_recall_table,
    relative_recall_title,
    rows_table,
    rules_text,
    training_table,
)
from conaclip_edge.benchmarks.report.tables.ann_tables import ann_table
from conaclip_edge.benchmarks.report.tables.device_table import (
    device_answer,
    device_rows,
    device_table,
    without_devices,
)
from conaclip_edge.benchmarks.report.tables.speed_table import speed_section
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, read_report
from conaclip_edge.benchmarks.schema.speed import read_speed

_INTRODUCTION = """\
# Benchmarks

This page is rendered from `benchmarks/results/*.json`; a test compares it with them. What is measured is the files that
ship.

```
conaclip-edge benchmark runs/demo/bundle         # report.json, report.md and report.html: which files to ship where
conaclip-edge benchmark runs/demo/bundle --device arm64 --into runs/demo/report/report.json   # adds instructions
conaclip-edge benchmark BUNDLE --device x86-64   # counts on an x86-64 processor that is no host's own; --into as above
conaclip-edge benchmark BUNDLE --device android  # an attached phone, by adb; --into as above
conaclip-edge benchmark BUNDLE --device ios      # what to run on a Mac with an iPhone; imports its result
conaclip-edge report host.json phone.json --out runs/both   # rows of several machines in one report
conaclip-edge report new.json --check old.json   # exit code 1 where recall, a latency ratio or a count got worse
```

A report opens with the files for each platform. How they are chosen:

{rules}

What is measured:

- **Recall** is measured by running each file on the held-out split, one picture or text per call, both directions. Any
  caption of a picture counts, a tie counts against the query. **Relative recall** is the share of the float32 student's
  (or the teacher's) recall that is left; it comes with a paired bootstrap interval, also for each tower alone.
- **What recall is worth**: it stands beside the number of pictures, chance (the mean recall of a random order), the
  teacher's figure and a 95 % interval. An interval that includes chance is called "at chance"; fewer than 20 pictures,
  or an interval wider than 20 points, are called "too few to tell". No file is named for any platform then.
- **Plain exports** are in every report: ONNX float32 (torch.onnx.export), ONNX static int8 (quantize_static, QDQ) and
  dynamic int8 (quantize_dynamic) with their defaults, and ExecuTorch float32, beside the student in torch. Static int8
  is calibrated on the train pairs that the bundle's files were calibrated on. Texts are padded to the context for them.
  One that loses too much recall is shown with it; one that cannot be made is a line.
- **Latency**: all rows are loaded side by side and run in interleaved rounds, each once per round in random order, on
  real pictures and on captions at even quantiles of the corpus's lengths. A ratio is the median of the rounds' ratios.
  Rounds go on until every median is known well enough or the suite's time is up; times that spread more than the suite
  allows are marked ~.
- **Cold start and memory**: fresh processes that load one file and run it once; their own peak, not their parent's.
- **Instructions** are counted under emulation, for arm64 and x86-64, and repeat to 1 % whatever else the machine does;
  they are no time. [The page on emulated devices](../guides/emulated.md) says how.
- **Sizes** are bytes of the files; zipped is what an app store delivers (deflate, level 9).
- **native** is the platform's own runtime; **reference** is an interpreter of the exported program, which shows recall
  and never speed. A number of a host is never called one of a phone.
- Suites are in `benchmarks/suites/`: what is measured, how often, and what it is compared with."""


def results_page(benchmarks: Path) -> str:
    """Return the text of docs/results/benchmarks.md for the results in `benchmarks/results/`."""
    results = sorted((benchmarks / "results").glob("*.json"))
    text = render_results({path.stem: read_report(path) for path in results if path.stem != "speed"})
    speed = benchmarks / "results" / "speed.json"
    if not speed.is_file():
        return text
    section = speed_section(read_speed(speed))
    return f"{text.rstrip()}\n\n## speed\n\n{section} What was tried: [Speed](speed.md).\n"


def render_results(results: Mapping[str, BenchmarkReport]) -> str:
    """Render docs/results/benchmarks.md from stored reports.

    Args:
        results: name of the file in benchmarks/results -> report.
    """
    parts = [_INTRODUCTION.format(rules=rules_text())]
    for name, report in sorted(results.items()):
        parts += [
            f"## {name}",
            *([] if report.rows and not without_devices(report).rows else [answer(report)]),  # counts choose no file
            *([device_answer(report), device_table(report)] if device_rows(report) else []),
            *([rows_table(report)] if without_devices(report).rows else []),
            *([ann_table(report.ann)] if report.ann else []),
            *(
                [f"{relative_recall_title(report)}:", relative_recall_table(report)]
                if has_relative_recall(report)
                else []
            ),
            *(["The same budget, other graphs:", training_table(report)] if has_training(report) else []),
            *(environment_line(one) for one in (report.environment, *report.other_environments)),
            f"Made by `conaclip-edge benchmark` (suite {report.suite.name}) on {report.created[:10]}; all of it is in "
            f"`results/{name}.json`.",
        ]
    return "\n\n".join(parts) + "\n"
