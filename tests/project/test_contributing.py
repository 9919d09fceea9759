"""The pages of docs/extend, followed word by word in a copy of the package: what they add is trained and exported."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, NamedTuple

import pytest
import yaml

from tests.helpers import tiny

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "extend" / f"{name}.md" for name in ("loss", "format", "tower", "target", "index")]
PAGE = "\n".join(page.read_text("utf-8") for page in PAGES)
STEP = re.compile(
    r"^New (file|import in|function in|row of `\w+` in) `([\w./]+)`:\n\n```python\n(.*?)^```$", re.M | re.S
)
IN_A_RECIPE = re.compile(r"^In a recipe:\n\n```yaml\n(.*?)^```$", re.M | re.S)
COMMANDS = re.compile(r"^conaclip-edge (.*)$", re.M)


class Copy(NamedTuple):
    """A copy of the package with the page's parts, in a folder with a recipe and its data."""

    home: Path
    changed: set[str]

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the folder, on the copy."""
        environment = os.environ | {"PYTHONPATH": str(self.home), "HF_DATASETS_CACHE": str(self.home / "datasets")}
        called = [sys.executable, *arguments]
        return subprocess.run(called, cwd=self.home, env=environment, capture_output=True, text=True, check=False)


def with_import(source: str, line: str) -> str:
    """Add an import to a module, in the order of the alphabet."""
    lines = source.splitlines(keepends=True)
    after = 1 + max(n for n, old in enumerate(lines) if old.startswith("from conaclip_edge") and old < line)
    return "".join([*lines[:after], line, *lines[after:]])


def with_row(source: str, table: str, row: str) -> str:
    """Add a row to a table of a module: before the line that closes it."""
    row = indent(dedent(row).strip().removesuffix(","), "    ") + ",\n"
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == table for target in targets):
            assert node.end_lineno is not None
            lines = source.splitlines(keepends=True)
            return "".join([*lines[: node.end_lineno - 1], row, *lines[node.end_lineno - 1 :]])
    raise AssertionError(f"no table {table}")


def follow(step: str, file: Path, text: str) -> None:
    """Do what one step of the page says."""
    assert file.exists() == (step != "file"), f"{file} is there already, or is not: {step}"
    if step == "file":
        file.write_text(text, "utf-8")
    elif step == "function in":
        file.write_text(f"{file.read_text('utf-8')}\n\n{text}", "utf-8")
    elif step == "import in":
        file.write_text(with_import(file.read_text("utf-8"), text), "utf-8")
    else:
        file.write_text(with_row(file.read_text("utf-8"), step.split("`")[1], text), "utf-8")


def merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    both = {key: merged(values[key], more[key]) for key in values.keys() & more.keys() if isinstance(more[key], dict)}
    return values | more | both


@pytest.fixture(scope="module", name="copy")
def _copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    home = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "conaclip_edge", home / "conaclip_edge", ignore=shutil.ignore_patterns("__pycache__"))
    (home / "tests").mkdir()
    for name in ("__init__.py", "conftest.py", "helpers", "oracles", "distill"):
        copied = shutil.copytree if (ROOT / "tests" / name).is_dir() else shutil.copy
        copied(ROOT / "tests" / name, home / "tests" / name)
    steps = STEP.findall(PAGE)
    for step, path, text in steps:
        follow(step, home / path, text)

    pictures = tiny.image_folder(home / "pictures")
    rows = map(json.loads, (pictures / "metadata.jsonl").read_text("utf-8").splitlines())
    lines = [f"{row['file_name']}\t{caption}\n" for row in rows for caption in row["captions"]]
    (pictures / "captions.tsv").write_text("".join(lines), "utf-8")
    (pictures / "metadata.jsonl").unlink()
    tiny.teacher_folder(home / "teacher")
    recipe = tiny.recipe(pictures, home / "teacher", home / "cache", steps=1)
    del recipe["data"]
    for text in IN_A_RECIPE.findall(PAGE):
        recipe = merged(recipe, yaml.safe_load(text))
    tiny.write_recipe(home / "recipe.yaml", recipe)
    return Copy(home, {path for _, path, _ in steps})


@pytest.fixture(scope="module", name="used")
def _used(copy: Copy) -> Copy:
    """The same, after the pages' commands."""
    called = COMMANDS.findall(PAGE)
    assert called
    for arguments in called:
        done = copy.python("-m", "conaclip_edge.cli.main", *arguments.split())
        assert done.returncode == 0, f"conaclip-edge {arguments}: {done.stderr}"
    return copy


def test_the_page_adds_one_part_of_each_kind(copy: Copy) -> None:
    tables = {step.split("`")[1] for step, _, _ in STEP.findall(PAGE) if "`" in step}
    assert tables == {"SUPERVISIONS", "TERMS", "PLACES", "FORMATS", "IMAGE_TOWERS", "_TARGETS", "RUNTIMES"}


def test_its_python_is_formatted_as_the_gate_asks(copy: Copy) -> None:
    settings = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", *sorted(copy.changed)]
    for command in (["check"], ["format", "--check"]):
        done = copy.python("-m", "ruff", *command, *settings)
        assert done.returncode == 0, done.stdout


def test_the_loss_passes_the_tests_of_the_graph(copy: Copy) -> None:
    done = copy.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/distill/losses", "-k", "huber")
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_a_student_is_trained_on_the_format_with_the_loss_and_the_tower(used: Copy) -> None:
    config = json.loads((used.home / "student" / "config.json").read_text("utf-8"))
    assert config["conaclip_edge"]["image"]["kind"] == "plain"
    training = json.loads((used.home / "student" / "training.json").read_text("utf-8"))
    assert training["data"]["name"] == "caption_list:pictures"
    assert "SI-ST/huber" in (used.home / "student" / "training.jsonl").read_text("utf-8")


def test_files_of_the_target_are_run_gated_and_verified(used: Copy) -> None:
    files = json.loads((used.home / "bundle" / "manifest.json").read_text("utf-8"))["files"]
    gates = {file["path"]: file["gate"] for file in files}
    targets = {"torch_program": ["pt2"], "onnx": ["onnx", "ort"]}
    names = {
        f"{target}/{tower}.fp32.{suffix}"
        for target, suffixes in targets.items()
        for tower in ("image", "text")
        for suffix in suffixes
    }
    assert gates.keys() == names | {"onnx/text.fp32.accelerator.onnx"}
    assert all(gate["executed"] == "native" and gate["cosine"]["min"] > 0.9999 for gate in gates.values())
