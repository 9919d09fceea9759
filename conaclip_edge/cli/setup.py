"""The commands to begin with: what is there, what works here, and a recipe that fits both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conaclip_edge.cli.output import JsonOption, results


def add_setup_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    for command in (init, presets, info, doctor):
        app.command()(command)


def init(
    data: Annotated[Path, typer.Argument(metavar="PICTURES", help="Folder of pictures with captions, or a data file.")],
    teacher: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Folder or hub name of a dual encoder; default: the demo's.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Recipe to write.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a recipe that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at your pictures and a teacher, say what is there, and write a recipe that fits them and this machine.

    Example: conaclip-edge init ~/Pictures --teacher laion/CLIP-ViT-B-32-laion2B-s34B-b79K
    """
    with results(as_json) as show:
        from conaclip_edge.setup.recipe.request import check_request

        request = check_request(data, teacher, out, force)
        from conaclip_edge.setup.recipe.init import write_recipe
        from conaclip_edge.setup.recipe.report import init_text

        report = write_recipe(request)
        show(report, init_text(report))


def presets(
    teacher: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Warn of presets that are not smaller than this teacher.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the student presets: parameters, size, multiply-adds, and what each is meant for.

    Example: conaclip-edge presets
    """
    with results(as_json) as show:
        from conaclip_edge.setup.presets import preset_list, presets_text

        found = preset_list(teacher)
        show(found, presets_text(found))


def info(
    path: Annotated[Path, typer.Argument(help="Recipe, data, teacher, student, bundle, index, report or run.")],
    as_json: JsonOption = False,
) -> None:
    """Describe what lies at a path: what it is, its key figures, and the command that comes next.

    Example: conaclip-edge info runs/demo/bundle
    """
    with results(as_json) as show:
        from conaclip_edge.setup.info.describe import describe
        from conaclip_edge.setup.info.description import description_text

        found = describe(path)
        show(found, description_text(found))


def doctor(
    prepare: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="Set up the emulated arm64 device; arm64-onnx leaves out ExecuTorch."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which targets, runtimes, picture formats and devices work on this machine, and how to get the rest.

    Example: conaclip-edge doctor --prepare arm64
    """
    with results(as_json) as show:
        if prepare:
            from conaclip_edge.setup.prepare import prepare_device, prepared_text

            made = prepare_device(prepare)
            show(made, prepared_text(made))
            return
        from conaclip_edge.setup.doctor import diagnose, doctor_text

        report = diagnose()
        show(report, doctor_text(report))
