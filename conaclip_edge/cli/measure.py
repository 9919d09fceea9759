"""The commands that measure: recall of a model, a bundle's files on this machine or a phone, reports of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conaclip_edge.cli.output import JsonOption, SetOption, results


def add_measuring_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    for command in (evaluate, embed, benchmark, report):
        app.command()(command)


def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a teacher, a checkpoint or a bundle.")],
    data: Annotated[
        Path | None, typer.Option(help="Recipe or picture folder; default: what the model was trained on.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    target: Annotated[str, typer.Option(help="Files of a bundle: onnx, executorch, coreml or coreai.")] = "onnx",
    as_json: JsonOption = False,
) -> None:
    """Measure recall of a teacher, a checkpoint or a bundle, both ways, with intervals.

    Example: conaclip-edge evaluate runs/demo/student --split test --json
    """
    with results(as_json) as show:
        from conaclip_edge.evaluation.evaluate import evaluate as run
        from conaclip_edge.evaluation.evaluate import table

        outcome = run(model, data, split, target)
        show(outcome, table(outcome))


def embed(
    model: Annotated[Path, typer.Argument(help="Folder of a teacher, a checkpoint or a bundle.")],
    data: Annotated[Path, typer.Argument(help="Recipe or picture folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the embeddings; shards in it are kept.")] = Path(
        "runs/embeddings"
    ),
    worker: Annotated[str | None, typer.Option(metavar="I/N", help="Embed the part of worker I of N.")] = None,
    target: Annotated[str, typer.Option(help="Files of a bundle: onnx, executorch, coreml or coreai.")] = "onnx",
    as_json: JsonOption = False,
) -> None:
    """Embed a data set into .npy and Parquet files that vector databases load.

    Example: conaclip-edge embed runs/demo/bundle ~/Pictures --out runs/embeddings --worker 1/2
    """
    with results(as_json) as show:
        from conaclip_edge.embed import embed as run
        from conaclip_edge.embed import embed_text

        outcome = run(model, data, out, worker, target)
        show(outcome, embed_text(outcome))


def benchmark(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle; default: the newest run's.")] = None,
    suite: Annotated[Path | None, typer.Option(help="YAML suite; default: the demo's.")] = None,
    settings: SetOption = None,
    data: Annotated[Path | None, typer.Option(help="Recipe or picture folder, if the student's have moved.")] = None,
    out: Annotated[Path | None, typer.Option(help="Report; default: report/ beside the bundle.")] = None,
    device: Annotated[
        str | None, typer.Option(help="android, ios, or emulated: arm64, x86-64; default: this machine.")
    ] = None,
    serial: Annotated[str | None, typer.Option(help="Which Android phone, if several are attached.")] = None,
    result: Annotated[Path | None, typer.Option(help="Import this result of a Mac with an iPhone.")] = None,
    into: Annotated[
        Path | None, typer.Option(metavar="REPORT", help="Also add the device's rows to this report.json.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure latency, memory, size and recall of a bundle's files, and write which of them to ship where.

    Example: conaclip-edge benchmark runs/demo/bundle --set pictures=1000
    """
    with results(as_json) as show:
        from conaclip_edge.config.load import benchmark_suite
        from conaclip_edge.export.targets import default_bundle
        from conaclip_edge.system.latest_run import latest_run

        config = benchmark_suite(suite, settings or [], data)
        source = bundle or default_bundle(latest_run())
        from conaclip_edge.benchmarks.commands import benchmark_command

        show(*benchmark_command(source, config, out, device, serial, result, into))


def report(
    reports: Annotated[
        list[Path], typer.Argument(help="Paths of report.json; the first decides what a server should run.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the merged report; default: write none.")] = None,
    check: Annotated[Path | None, typer.Option(help="Earlier report.json; exit with 1 if something got worse.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Merge reports of several machines and compare them with an earlier one.

    Example: conaclip-edge report host.json phone.json --out runs/both --check earlier.json
    """
    with results(as_json) as show:
        from conaclip_edge.benchmarks.commands import benchmark_text, merge_and_check, require_no_regression

        merged, worse = merge_and_check(reports, out, check)
        show(merged, benchmark_text(merged, out))
        require_no_regression(worse, check)
