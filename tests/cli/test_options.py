"""Options that texts name: each is one of a command, and of the very command that the text tells to run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import conaclip_edge
from conaclip_edge.cli.main import app

PACKAGE = Path(conaclip_edge.__file__).parent
# options of programs other than ours, that a text or a command line of the package names
OTHERS = {
    "--sparse": "tar",
    "--local-dir": "hf",
    "--shm-size": "docker",
    "--model_path": "executor_runner",
    "--num_executions": "executor_runner",
    "--cpu_threads": "executor_runner",
    "--team": "ios_measure.py",
    "--mac": "ios_measure.py",
    "--runs": "ios_measure.py",
}
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
ARGUMENT = re.compile(r"--[\w-]+(=|$)")  # of a program's command line, or a name in a style sheet
COMMAND = re.compile(r"conaclip-edge ([a-z][a-z-]*)((?: [^\s:;`]+)*)")


def commands() -> dict[str, set[str]]:
    """The options of every command."""
    group = typer.main.get_command(app)
    found = {name: {"--help"} for name in group.commands}
    for name, command in group.commands.items():
        for parameter in command.params:
            found[name] |= {text for text in parameter.opts if text.startswith("--")}
    return found


def texts(source: str) -> Iterator[str]:
    """The strings of a module that say something, parts in braces left out: no docstrings."""
    tree = ast.parse(source)
    # a string that stands alone is a docstring
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.keyword) and node.arg == "where" and isinstance(node.value, ast.Constant):
            yield f"in {node.value.value}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


MENTIONS = sorted(
    (str(path.relative_to(PACKAGE)), text)
    for path in PACKAGE.rglob("*.py")
    for text in texts(path.read_text("utf-8"))
    if OPTION.search(text) and not ARGUMENT.match(text)
)


def test_there_are_texts_that_name_options() -> None:
    assert len(MENTIONS) > 40
    assert {path.split("/")[0] for path, _ in MENTIONS} >= {"benchmarks", "bundle", "export", "search", "teacher_cache"}


@pytest.mark.parametrize(("path", "text"), MENTIONS)
def test_an_option_that_a_text_names_exists(path: str, text: str) -> None:
    every = set().union(*commands().values()) | {"--version"} | set(OTHERS)
    assert set(OPTION.findall(text)) <= every
    for command, arguments in COMMAND.findall(text):
        assert command in commands(), f"no command {command}"
        assert set(OPTION.findall(arguments)) <= commands()[command], command


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_has_an_example_of_itself_that_names_its_own_options(command: str) -> None:
    text = typer.main.get_command(app).commands[command].help
    (example,) = re.findall(r"Example: conaclip-edge (.*)", text)
    assert example.split()[0] == command
    assert set(OPTION.findall(example)) <= commands()[command]


@pytest.mark.parametrize("command", ["evaluate", "export", "benchmark"])
def test_what_asks_for_data_that_are_elsewhere_takes_them(command: str) -> None:
    assert "--data" in commands()[command]


TOP = Path(__file__).parents[2]
SIGNED = "bundle manifest, signature"  # begins the line that a key signs; no command
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "distill/**/*.md", "distill/**/*.yaml", "export/**/*.md", "export/**/*.yaml")
    for path in (*TOP.glob(pattern), *TOP.glob(pattern.replace("distill", "benchmarks")))
)


@pytest.mark.parametrize("path", sorted({str(path.relative_to(TOP)) for path in DOCUMENTS}))
def test_a_command_that_a_document_names_exists_and_has_the_options(path: str) -> None:
    text = (TOP / path).read_text("utf-8").replace("\\\n", " ")
    if path.endswith(".md"):  # the code in it
        text = "\n".join(max(found) for found in re.findall(r"```\w*\n(.*?)```|`([^`]+)`", text, re.DOTALL))
    for command, arguments in re.findall(r"(?m)^[ #$]*conaclip-edge ([a-z][a-z-]*)((?: [^\s:;`#|]+)*)", text):
        if f"{command}{arguments}".startswith(SIGNED):
            continue
        assert command in commands(), f"no command {command}"
        assert set(OPTION.findall(arguments)) <= commands()[command], command
