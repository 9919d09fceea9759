"""The commands that train: a student, a teacher, the teacher's cache, many students side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conaclip_edge.cli.output import JsonOption, SetOption, results

if TYPE_CHECKING:
    from conaclip_edge.models.student.record import ValRecall


def add_training_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    for command in (distill, train_teacher, convert, cache, compare, study):
        app.command(command.__name__.replace("_", "-"))(command)


def distill(
    recipe: Annotated[Path | None, typer.Argument(help="YAML recipe; default: the demo's.")] = None,
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Checkpoint folder; default runs/<name of the recipe>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after an interruption.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Distil a student from a teacher by the interaction graph.

    Example: conaclip-edge distill --set train.steps=100 --out runs/mine
    """
    with results(as_json) as show:
        from conaclip_edge.api import distill_student

        student = distill_student(recipe, settings or (), out, resume)
        val, val_int8 = student.record.val, student.record.val_int8
        int8 = f"; with the image tower in int8, {_measured(val_int8)}" if val_int8 else ""
        show(
            {"checkpoint": str(student.folder), **student.record.model_dump(mode="json")},
            f"student in {student.folder}: {_measured(val)}{int8} "
            f"({student.record.parameters['all']:,} parameters). "
            f"Next: conaclip-edge export {student.folder} --target all",
        )


def _measured(val: ValRecall) -> str:
    """Say how well a student does on val, in words that fit what was measured."""
    from conaclip_edge.models.certainty import recall_text

    figure = recall_text(val.mean_recall, val.certainty)
    if val.of == "captions":
        return f"mean recall on val {figure}"
    first = val.recall["i2t"]["1"]
    return f"its pictures of val find their teacher's first in {first:.1f} %, mean recall {figure}; no caption measured"


def train_teacher(
    recipe: Annotated[Path | None, typer.Argument(help="YAML recipe; default: the demo's.")] = None,
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Teacher folder; default runs/<name of the recipe>.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Join two pretrained towers into a teacher by a head trained on your pairs, or fit a dual encoder to them.

    Example: conaclip-edge train-teacher --out runs/demo/teacher
    """
    with results(as_json) as show:
        from conaclip_edge import api

        teacher = api.train_teacher(recipe, settings or (), out)
        val = teacher.record.val
        from conaclip_edge.models.certainty import recall_text

        measured = f": mean recall on val {recall_text(val.mean_recall, val.certainty)}" if val else ""
        record = teacher.record.model_dump(mode="json")
        show({"teacher": str(teacher.folder), **record}, f"teacher in {teacher.folder}{measured}")


def convert(
    folder: Annotated[Path, typer.Argument(help="A checkpoint's folder, of EasyNLP or OpenCLIP.")],
    out: Annotated[Path, typer.Option(help="Folder of the teacher.")],
    as_json: JsonOption = False,
) -> None:
    """Turn a CLIP checkpoint of EasyNLP, or a plain ViT of OpenCLIP, into a CLIP of transformers; nothing in it is run.

    Of EasyNLP: config.json, pytorch_model.bin and vocab.txt. Of OpenCLIP: open_clip_config.json and safetensors.

    Example: conaclip-edge convert easynlp/my-clip --out runs/my-clip
    """
    with results(as_json) as show:
        from conaclip_edge.models.easynlp.files import check_files
        from conaclip_edge.models.transformers_folder import OPEN_CLIP_CONFIG
        from conaclip_edge.system.products import TEACHER, check_out

        check_out(out, TEACHER)
        if (folder / OPEN_CLIP_CONFIG).is_file():
            from conaclip_edge.models.teacher.openclip.convert import convert as run
        else:
            check_files(folder)
            from conaclip_edge.models.easynlp.convert import convert as run

        report = run(folder, out)
        show(
            report,
            f"teacher in {out}: {report.model_type}, {report.parameters:,} parameters, "
            f"{report.embed_dim} dimensions. Next: conaclip-edge distill RECIPE --set teacher={out}",
        )


def cache(
    recipe: Annotated[Path | None, typer.Argument(help="YAML recipe; default: the demo's.")] = None,
    settings: SetOption = None,
    worker: Annotated[str | None, typer.Option(metavar="I/N", help="Build the part of worker I of N.")] = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Add the part that another machine built; repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let the teacher embed a recipe's data before the training, by one process or by several.

    Example: conaclip-edge cache recipe.yaml --worker 2/4
    """
    with results(as_json) as show:
        from conaclip_edge.config.load import distill_recipe
        from conaclip_edge.models.model_folder import check_teachers
        from conaclip_edge.system.extras import require_extra
        from conaclip_edge.system.products import check_folder

        config = distill_recipe(recipe, settings or [], check=True)
        require_extra("train")
        check_teachers(config.all_teachers)
        check_folder(config.cache, "cache")
        from conaclip_edge.teacher_cache.build import build_cache, cache_text

        report = build_cache(config, worker, merge or ())
        show(report, cache_text(report))


def compare(
    recipe: Annotated[Path | None, typer.Argument(help="YAML recipe; default: the demo's.")] = None,
    settings: SetOption = None,
    graphs: Annotated[
        str,
        typer.Option(
            help="Graph presets by comma, or recipe for the recipe's own graph; each is compared with the first."
        ),
    ] = "infonce,motis,conaclip",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings per graph, each with its own seed.")] = 3,
    split: Annotated[str, typer.Option(help="Split to measure: choose on val, report on test.")] = "val",
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs; finished runs are kept.")] = Path("runs/compare"),
    as_json: JsonOption = False,
) -> None:
    """Train the same recipe with several graphs and seeds and put their recall side by side.

    Example: conaclip-edge compare recipe.yaml --graphs conaclip,recipe --seeds 3
    """
    with results(as_json) as show:
        from conaclip_edge.config.graph import named_graphs
        from conaclip_edge.config.load import distill_recipe
        from conaclip_edge.models.model_folder import check_teachers
        from conaclip_edge.system.extras import require_extra
        from conaclip_edge.system.products import check_folder

        names = graphs.split(",")
        config = distill_recipe(recipe, settings or [], check=True)
        named_graphs(names, config.graph, "--graphs")
        require_extra("train")
        check_teachers(config.all_teachers)
        check_folder(config.cache, "cache")
        check_folder(out)
        from conaclip_edge.study.compare import compare as run
        from conaclip_edge.study.compare import recall_table

        report = run(config, names, list(range(seeds)), out, split, jobs)
        show(report, recall_table(report.rows, report.n, report.split))


def study(
    recipe: Annotated[Path | None, typer.Argument(help="YAML study or recipe; default: the demo's study.")] = None,
    settings: SetOption = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings per graph, each with its own seed; default: the study's.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Training steps of every run; default: the study's.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs; finished runs are kept.")] = Path("runs/study"),
    as_json: JsonOption = False,
) -> None:
    """Try every supervision on every learning type, integrate what helps, and write a table with intervals.

    Example: conaclip-edge study recipe.yaml --seeds 3 --budget 80 --out runs/study
    """
    with results(as_json) as show:
        from conaclip_edge.config.load import study_recipe
        from conaclip_edge.models.model_folder import check_teachers
        from conaclip_edge.system.extras import require_extra
        from conaclip_edge.system.products import check_folder

        options = {"seeds": seeds, "recipe.train.steps": budget}
        given = [f"{key}={value}" for key, value in options.items() if value is not None]
        config = study_recipe(recipe, [*(settings or []), *given], check=True)
        require_extra("train")
        check_teachers(config.recipe.all_teachers)
        check_folder(config.recipe.cache, "cache")
        check_folder(out)
        from conaclip_edge.study.page import write_study
        from conaclip_edge.study.study import study as run
        from conaclip_edge.study.text import study_table

        report = run(config, out, jobs)
        write_study(report, out)
        show(report, study_table(report, out))
