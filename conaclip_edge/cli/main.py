"""The command line: parse, call one function, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from conaclip_edge.cli.bundle import add_bundle_commands
from conaclip_edge.cli.output import JsonOption, SetOption, results
from conaclip_edge.cli.search import add_search_commands
from conaclip_edge.errors import ConaclipError, Interrupted
from conaclip_edge.system.extras import extras_needed, require_extra
from conaclip_edge.system.signals import end_on_signals, exit_code, signalled
from conaclip_edge.system.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Distil a CLIP-like dual encoder for phones, export it in int8, prove what the files can do.\n\n"
    "Start here: conaclip-edge demo",
)


def main() -> None:
    """Run the command line; errors a user can meet end in one line and an exit code, never in a traceback."""
    try:
        end_on_signals()
        _run()
    except KeyboardInterrupt:  # outside of any command's work, or taken for an error by a library
        print("conaclip-edge: interrupted; what was saved is kept.", file=sys.stderr)
        sys.exit(exit_code())


def _run() -> None:
    try:
        with extras_needed():
            app()
    except ConaclipError as error:
        stopped = isinstance(error, Interrupted)
        if signalled() and not stopped:
            raise KeyboardInterrupt from None
        print(f"conaclip-edge: {error}", file=sys.stderr)
        sys.exit(exit_code() if stopped else error.exit_code)
    except SystemExit as end:
        # the parser ends a Ctrl-C that comes before a command's work by itself, and SIGTERM as if it were one
        sys.exit(exit_code() if end.code == 130 else end.code)
    except Exception as error:
        if os.environ.get("CONACLIP_EDGE_DEBUG"):
            raise
        if signalled():
            raise KeyboardInterrupt from None
        reason = " ".join(str(error).split())
        print(
            f"conaclip-edge: internal error: {type(error).__name__}: {reason}. "
            "Please report it; CONACLIP_EDGE_DEBUG=1 shows where.",
            file=sys.stderr,
        )
        sys.exit(2)


def _version(asked: bool) -> None:
    if asked:
        print(f"conaclip-edge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def distill(
    recipe: Annotated[Path | None, typer.Argument(help="YAML recipe; left out: the demo's.")] = None,
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Checkpoint folder; default runs/<name of the recipe>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after an interruption.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Distil a student from a teacher by the interaction graph.

    Example: conaclip-edge distill distill/recipes/demo.yaml --set train.steps=100 --out runs/mine
    """
    from conaclip_edge.config.load import distill_recipe
    from conaclip_edge.system.latest_run import point_latest

    with results(as_json) as show:
        config = distill_recipe(recipe, settings or [])
        from conaclip_edge.distill.trainer import distill as run

        target = out or Path("runs") / config.name
        record = run(config, target, resume)
        point_latest(target)
        show(
            {"checkpoint": str(target), **record},
            f"student in {target}: mean recall on val {record['val']['mean_recall']:.1f} % "
            f"({record['parameters']['all']:,} parameters). Next: conaclip-edge export {target} --target all",
        )


@app.command("train-teacher")
def train_teacher(
    recipe: Annotated[Path | None, typer.Argument(help="YAML recipe; left out: the demo's.")] = None,
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Teacher folder; default runs/<name of the recipe>.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Join two pretrained towers into a teacher by a head trained on your pairs, or fit a dual encoder to them.

    Example: conaclip-edge train-teacher distill/recipes/demo-teacher.yaml --out runs/demo/teacher
    """
    from conaclip_edge.config.load import teacher_recipe

    with results(as_json) as show:
        config = teacher_recipe(recipe, settings or [])
        if config.base:
            from conaclip_edge.distill.teacher.finetune import fit_teacher as run
        else:
            from conaclip_edge.distill.teacher.join_towers import train_teacher as run

        target = out or Path("runs") / config.name
        record = run(config, target)
        measured = f": mean recall on val {record['val']['mean_recall']:.1f} %" if "val" in record else ""
        show({"teacher": str(target), **record}, f"teacher in {target}{measured}")


@app.command()
def convert(
    folder: Annotated[Path, typer.Argument(help="EasyNLP's folder: config.json, pytorch_model.bin, vocab.txt.")],
    out: Annotated[Path, typer.Option(help="Folder of the teacher.")],
    as_json: JsonOption = False,
) -> None:
    """Turn a CLIP checkpoint of EasyNLP into a teacher; tensors are read, nothing in it is run.

    Example: conaclip-edge convert easynlp/my-clip --out runs/my-clip
    """
    with results(as_json) as show:
        from conaclip_edge.models.easynlp.convert import convert as run

        record = run(folder, out)
        show(
            {"teacher": str(out), **record},
            f"teacher in {out}: {record['model_type']}, {record['parameters']:,} parameters, "
            f"{record['embed_dim']} dimensions. Next: conaclip-edge distill RECIPE --set teacher={out}",
        )


@app.command()
def cache(
    recipe: Annotated[Path | None, typer.Argument(help="YAML recipe; left out: the demo's.")] = None,
    settings: SetOption = None,
    worker: Annotated[str | None, typer.Option(metavar="I/N", help="Build the part of worker I of N.")] = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Take in the part that another machine built; repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let the teacher embed a recipe's data before the training, by one process or by several.

    Example: conaclip-edge cache distill/recipes/demo.yaml --worker 2/4
    """
    from conaclip_edge.config.load import distill_recipe

    with results(as_json) as show:
        config = distill_recipe(recipe, settings or [])
        from conaclip_edge.teacher_cache.build import build_cache, cache_text

        outcome = build_cache(config, worker, merge or ())
        show(outcome, cache_text(outcome))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a teacher, a checkpoint or a bundle.")],
    data: Annotated[
        Path | None, typer.Option(help="Recipe or picture folder; default: what the model was trained on.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    target: Annotated[str, typer.Option(help="Of a bundle: onnx, executorch or coreml.")] = "onnx",
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


add_bundle_commands(app)


@app.command()
def compare(
    recipe: Annotated[Path | None, typer.Argument(help="YAML recipe; left out: the demo's.")] = None,
    settings: SetOption = None,
    graphs: Annotated[str, typer.Option(help="Graph presets, by comma.")] = "infonce,motis,conaclip",
    seeds: Annotated[int, typer.Option(min=1, help="Runs a graph.")] = 3,
    split: Annotated[str, typer.Option(help="Split of the table: choose on val, report on test.")] = "val",
    out: Annotated[Path, typer.Option(help="Folder of the runs; finished ones are kept.")] = Path("runs/compare"),
    as_json: JsonOption = False,
) -> None:
    """Train the same recipe with several graphs and seeds and put their recall side by side.

    Example: conaclip-edge compare distill/recipes/demo.yaml --graphs infonce,conaclip --seeds 3
    """
    from conaclip_edge.config.load import distill_recipe

    with results(as_json) as show:
        config = distill_recipe(recipe, settings or [])
        from conaclip_edge.study.compare import compare as run
        from conaclip_edge.study.compare import recall_table

        outcome = run(config, graphs.split(","), list(range(seeds)), out, split)
        show(outcome, recall_table(outcome["rows"], outcome["n"], outcome["split"]))


@app.command()
def study(
    recipe: Annotated[Path | None, typer.Argument(help="YAML study or recipe; left out: the demo's recipe.")] = None,
    settings: SetOption = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs a graph; default: the study's, 3.")] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Steps of every run; default: the study's.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default: one a core.")] = None,
    out: Annotated[Path, typer.Option(help="Folder; finished runs in it are kept.")] = Path("runs/study"),
    as_json: JsonOption = False,
) -> None:
    """Try every supervision on every learning type, integrate what helps, and write a table with intervals.

    Example: conaclip-edge study distill/studies/demo.yaml --seeds 3 --budget 80 --out runs/study
    """
    from conaclip_edge.config.load import study_recipe

    with results(as_json) as show:
        options = {"seeds": seeds, "recipe.train.steps": budget}
        given = [f"{key}={value}" for key, value in options.items() if value is not None]
        config = study_recipe(recipe, [*(settings or []), *given])
        from conaclip_edge.study.page import write_study
        from conaclip_edge.study.study import study as run
        from conaclip_edge.study.text import study_table

        outcome = write_study(run(config, out, jobs), out)
        show(outcome, study_table(outcome, out))


@app.command()
def benchmark(
    bundle: Annotated[Path | None, typer.Argument(help="Folder of the bundle; left out: the newest run's.")] = None,
    suite: Annotated[Path | None, typer.Option(help="YAML suite; left out: the demo's.")] = None,
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Report; default: report/ beside the bundle.")] = None,
    device: Annotated[str | None, typer.Option(help="android or ios; left out: this machine.")] = None,
    serial: Annotated[str | None, typer.Option(help="Which Android phone, where several are attached.")] = None,
    result: Annotated[Path | None, typer.Option(help="What the Mac measured on an iPhone, to import it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure latency, memory, size and recall of a bundle's files and write a report.

    Example: conaclip-edge benchmark runs/demo/bundle --suite benchmarks/suites/demo.yaml
    """
    with results(as_json) as show:
        from conaclip_edge.config.load import benchmark_suite
        from conaclip_edge.export.targets import default_bundle
        from conaclip_edge.system.latest_run import latest_run

        config = benchmark_suite(suite, settings or [])
        source = bundle or default_bundle(latest_run())
        from conaclip_edge.benchmarks.commands import benchmark_command

        show(*benchmark_command(source, config, out, device, serial, result))


@app.command()
def report(
    reports: Annotated[list[Path], typer.Argument(help="Files report.json; the first one gives the answer.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the merged report; left out: none is written.")] = None,
    check: Annotated[Path | None, typer.Option(help="Earlier report.json; exit code 1 if something got worse.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Merge reports of several machines, and compare them with an earlier one.

    Example: conaclip-edge report host.json phone.json --out runs/both --check benchmarks/results/demo.json
    """
    with results(as_json) as show:
        from conaclip_edge.benchmarks.commands import benchmark_text, merge_and_check, require_no_regression

        merged, worse = merge_and_check(reports, out, check)
        show(merged, benchmark_text(merged, out))
        require_no_regression(worse, check)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of teacher, students, bundle and report.")] = Path("runs/demo"),
    as_json: JsonOption = False,
) -> None:
    """Do everything on the embedded default: OpenMoji pictures, a teacher of packaged weights.

    Example: conaclip-edge demo
    """
    with results(as_json) as show:
        require_extra("demo")
        from conaclip_edge.demo.run import demo as run
        from conaclip_edge.demo.run import demo_text

        report = run(out)
        show(report, demo_text(report, out))


add_search_commands(app)

if __name__ == "__main__":
    main()
