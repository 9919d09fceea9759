"""The command line: parse, call one function, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from conaclip_edge.cli.bundle import add_bundle_commands
from conaclip_edge.cli.measure import add_measuring_commands
from conaclip_edge.cli.output import JsonOption, results
from conaclip_edge.cli.search import add_search_commands
from conaclip_edge.cli.setup import add_setup_commands
from conaclip_edge.cli.train import add_training_commands
from conaclip_edge.errors import ConaclipError, Interrupted
from conaclip_edge.system.arguments import expected_errors
from conaclip_edge.system.extras import require_extra
from conaclip_edge.system.signals import end_on_signals, exit_code, signalled
from conaclip_edge.system.version import __version__


class _Commands(TyperGroup):
    """Leaves it to the commands to say in one line that a file may not be read; the parser would show their usage."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        for command in self.commands.values():
            for parameter in command.params:
                descriptor = getattr(parameter, "type_descriptor", None)
                if descriptor is not None:
                    descriptor.parameter_info.readable = False


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Distil a CLIP-like dual encoder for phones, export it in int8, prove what the files can do.\n\n"
    "Start here: conaclip-edge demo, or with your own pictures: conaclip-edge init PICTURES --teacher MODEL",
)


def main(program: Callable[[], object] = app) -> None:
    """Run the command line; errors a user can meet end in one line and an exit code, never in a traceback.

    Args:
        program: reads the arguments and runs the command.

    Raises:
        SystemExit: with the exit code, after what went wrong was printed to stderr.
    """
    try:
        end_on_signals()
        _run(program)
    except KeyboardInterrupt:  # outside of any command's work, or taken for an error by a library
        print("conaclip-edge: interrupted; what was saved is kept.", file=sys.stderr)
        sys.exit(exit_code())


def _run(program: Callable[[], object]) -> None:
    try:
        with expected_errors():
            program()
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


add_setup_commands(app)
add_training_commands(app)
add_bundle_commands(app)
add_measuring_commands(app)
add_search_commands(app)
if __name__ == "__main__":
    main()
