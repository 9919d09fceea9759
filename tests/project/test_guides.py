"""The commands and the Python of README and guides, run in order in one folder; only the sizes are small here."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from typer.main import get_command

from conaclip_edge.cli import main as cli
from tests.helpers import tiny
from tests.project.test_public_api import SUITE

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", DOCS / "quickstart.md", DOCS / "install.md", *sorted((DOCS / "guides").glob("*.md"))]
BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
RUN = ("console", "python")
# imports every library in processes of its own, half a minute, which test_doctor.py does
TESTED_APART = ["conaclip-edge", "doctor"]
SHOWN = ("text", "yaml", "json", "swift", "kotlin", "javascript", "html")
# what the pages leave to defaults, which take minutes: a student of thirty pixels and rounds without end
BARS = ["--set", "min_cosine=0", "--set", "min_relative_recall=0"]
SMALL = {
    "distill": ["--set", "train.steps=2"],
    "export": BARS,
    "benchmark": ["--suite", "suite.yaml"],
    "compare": ["--set", "train.steps=1"],
    # its towers are random, and of 32 numbers: int8 of the default opset misses the golden bar by a hair
    "export my-clip": [*BARS, "--set", "opset=20"],
}
STUDENT = {
    "preset": "mobile",
    "image": {"size": 32, "width": 8, "stages": [[1, 8, 1, 3, 1], [4, 12, 2, 5, 2]], "head_width": 16},
    "text": tiny.STUDENT["text"],
    "init_image": "none",
}


class Block(NamedTuple):
    """A fenced block of a page."""

    marked: bool
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(bool(mark), language, text) for mark, language, text in BLOCK.findall(page.read_text("utf-8"))]


def commands(text: str) -> Iterator[list[str]]:
    """Split the lines of a console block, without their comments."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


class Home(NamedTuple):
    """A user's folder after the quickstart, and the commands that were run in it."""

    folder: Path
    done: list[list[str]]


@pytest.fixture(scope="module", name="home")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = tmp_path_factory.mktemp("guides")
    pictures = tiny.image_folder(home / "Pictures")
    tiny.drawing("red", "disc", "left").save(pictures / "cat.png")
    tiny.teacher_folder(home / "my-clip")
    (home / "suite.yaml").write_text(yaml.safe_dump(SUITE | {"name": "small"}), "utf-8")
    (home / "teacher.yaml").write_text("", "utf-8")
    for name in ("targets", "suites"):
        room = ROOT / ("export" if name == "targets" else "benchmarks")
        (home / room.name).mkdir()
        (home / room.name / name).symlink_to(room / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("HOME", str(home))
        patch.setenv("HF_DATASETS_CACHE", str(home / "datasets"))
        made = Home(home, [TESTED_APART])
        run_page(DOCS / "quickstart.md", made.done, patch)
        yield made


def run_page(page: Path, done: list[list[str]], patch: pytest.MonkeyPatch) -> None:
    """Run what a page shows; `done` are the commands that were run before, and gets more."""
    for block in blocks(page):
        if block.marked or block.language not in RUN:
            continue
        if block.language == "python":
            exec(compile(block.text, page.name, "exec"), {})
            continue
        for words in commands(block.text):
            assert words[0] == "conaclip-edge", f"{page.name}: only our own commands are run here: {words}"
            if words not in done:  # pages repeat each other's first steps
                done.append(words)
                run_command(words[1:], patch)


def run_command(arguments: list[str], patch: pytest.MonkeyPatch) -> None:
    more = SMALL.get(" ".join(arguments[:2]), SMALL.get(arguments[0], []))
    patch.setattr(sys, "argv", ["conaclip-edge", *arguments, *more])
    code: object = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    assert not code, f"conaclip-edge {' '.join(arguments)} ended with {code}"
    if arguments[0] == "init":  # its recipe is of real sizes
        recipe = tiny.recipe(Path("Pictures"), Path("my-clip"), Path("runs/cache"), steps=2)
        tiny.write_recipe(Path("recipe.yaml"), recipe | {"student": STUDENT})


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "quickstart.md"], ids=lambda page: page.stem)
def test_what_a_page_shows_runs(page: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(page, home.done, monkeypatch)


def test_the_quickstart_leaves_the_tree_that_it_shows(home: Home) -> None:
    (tree,) = (block.text for block in blocks(DOCS / "quickstart.md") if block.text.startswith("runs/mine/bundle/"))
    shown = re.findall(r"^  (\S+)", tree, re.M)
    shown += [
        f"{folder}/{name}" for folder, names in re.findall(r"^  (\w+/) +(.*)$", tree, re.M) for name in files(names)
    ]
    assert len(shown) > 12
    assert [name for name in shown if not (home.folder / "runs/mine/bundle" / name).exists()] == []


def files(text: str) -> list[str]:
    return re.findall(r"\w+\.\w+\.\w+", text)


@pytest.mark.parametrize("page", [*PAGES, *sorted(DOCS.glob("concepts/*.md"))], ids=lambda page: page.stem)
def test_every_block_is_run_or_shown_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        assert block.language in (*RUN, *SHOWN), f"a block without a language in {page.name}: {block.text[:60]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    group = get_command(cli.app)
    for block in blocks(page):
        for words in commands(block.text) if block.language == "console" else ():
            if words[0] == "conaclip-edge":
                command = group.commands[words[1]]
                known = {option for parameter in command.params for option in parameter.opts}
                assert {word.partition("=")[0] for word in words[2:] if word.startswith("--")} <= known, words
