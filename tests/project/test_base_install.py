"""The wheel without extras, in an environment of its own: bundles run in it without torch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest

from conaclip_edge.search.commands import search_pictures
from conaclip_edge.system.extras import EXTRAS
from tests.helpers.search.search_world import SearchWorld

ROOT = Path(__file__).parents[2]


class Base(NamedTuple):
    """An environment with the base alone, and a folder with a bundle, pictures with captions, and an index."""

    home: Path
    world: SearchWorld

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        """Start a program of the environment, without what the test's own process has."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [self.home / "bin" / command[0], *command[1:]], cwd=self.home, env=kept, text=True, **pipes
        )

    def run(self, *command: str | Path) -> tuple[int, str, str]:
        """Run a program of the environment; returns (exit code, stdout, stderr)."""
        process = self.start(*command)
        out, err = process.communicate()
        return process.returncode, out, err

    def edge(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Run the command line."""
        return self.run("conaclip-edge", *arguments)


@pytest.fixture(scope="module")
def base(wheel_file: Path, searched: SearchWorld, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """The base, installed from the package index as a user would, at the versions of constraints.txt."""
    home = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    install = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", ROOT / "constraints.txt", wheel_file], check=True)
    return Base(home, searched)


def test_no_package_of_an_extra_is_installed(base: Base) -> None:
    code = f"from importlib.util import find_spec; print([name for name in {sorted(EXTRAS)} if find_spec(name)])"
    code_of, found, _ = base.run("python", "-c", code)
    # the tokenizers library brings the hub's client
    assert (code_of, found.strip()) == (0, "['huggingface_hub']")


def test_a_bundle_is_verified(base: Base) -> None:
    code, out, err = base.edge("verify", base.world.bundle, "--json")
    assert code == 0, err
    assert {file["executed"] for file in json.loads(out)["files"]} == {"native"}


def test_pictures_are_indexed_and_what_a_whole_installation_finds_is_found(base: Base) -> None:
    code, _, err = base.edge("index", base.world.bundle, base.world.pictures, "--out", "index")
    assert code == 0, err
    query = base.world.queries()[0]
    code, out, err = base.edge("search", "index", query, "--json", "-k", "3")
    assert code == 0, err
    expected = search_pictures(base.world.index, query, 3)
    assert [hit["path"] for hit in json.loads(out)["hits"]] == [hit.path for hit in expected.hits]


def test_a_captioned_picture_folder_is_evaluated(base: Base) -> None:
    code, out, err = base.edge("evaluate", base.world.bundle, "--data", base.world.pictures, "--json")
    assert code == 0, err
    assert json.loads(out)["dataset"]["captions"] > 0


def test_the_doctor_says_what_is_missing_and_how_to_get_it(base: Base) -> None:
    code, out, err = base.edge("doctor", "--json")
    assert code == 0, err
    found = {(one["group"], one["name"]): one for one in json.loads(out)["findings"]}
    assert [found["work", name]["works"] for name in ("base", "train", "demo")] == [True, False, False]
    assert found["run", "onnx"]["works"]
    assert found["export", "coreml"]["get"] == "pip install 'conaclip-edge[coreml]'"


def test_presets_are_listed_and_a_bundle_is_described(base: Base) -> None:
    assert base.edge("presets")[0] == 0
    code, out, err = base.edge("info", base.world.bundle, "--json")
    assert code == 0, err
    assert json.loads(out)["kind"] == "bundle"


def test_a_page_is_served(base: Base) -> None:
    with base.start("conaclip-edge", "serve", base.world.index, "--port", "0") as server:
        assert server.stderr is not None
        address = re.search(r"http://\S+", server.stderr.readline())
        assert address
        with urlopen(address[0], timeout=60) as answer:
            assert b"<html" in answer.read()
        server.terminate()


def test_what_makes_a_static_site_is_there(base: Base) -> None:
    code, _, err = base.run("python", "-c", "import conaclip_edge.web.site.command, conaclip_edge.web.measure.report")
    assert code == 0, err


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (("distill",), "PyTorch", "train"),
        (("export", "student"), "PyTorch", "train"),
        (("study",), "PyTorch", "train"),
        (("demo",), "emoji", "demo"),
    ],
)
def test_what_an_extra_is_missing_for_ends_in_a_line_that_names_it(
    base: Base, arguments: tuple[str, ...], package: str, extra: str
) -> None:
    code, out, err = base.edge(*arguments)
    assert (code, out) == (2, "")
    assert err == (
        f"conaclip-edge: this needs {package}, which is not installed. "
        f"Install it: pip install 'conaclip-edge[{extra}]'\n"
    )
