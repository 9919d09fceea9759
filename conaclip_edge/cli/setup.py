"""The commands to begin with: what is there, what works here, and a recipe that fits both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conaclip_edge.cli.output import JsonOption, results


def add_setup_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    for command in (presets, info, doctor):
        app.command()(command)


def presets(as_json: JsonOption = False) -> None:
    """List the student presets: parameters, size, multiply-adds, and what each is meant for.

    Example: conaclip-edge presets
    """
    with results(as_json) as show:
        from conaclip_edge.setup.presets import preset_list, presets_text

        found = preset_list()
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


def doctor(as_json: JsonOption = False) -> None:
    """Say which targets, runtimes, picture formats and devices work on this machine, and how to get the rest.

    Example: conaclip-edge doctor
    """
    with results(as_json) as show:
        from conaclip_edge.setup.doctor import diagnose, doctor_text

        report = diagnose()
        show(report, doctor_text(report))
