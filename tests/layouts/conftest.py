"""What the tests of layouts share: packages of npm, and layouts of one small bundle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conaclip_edge.layouts.report import LayoutReport
from conaclip_edge.layouts.write import write_layout
from tests.helpers.layouts.clip_shaped import write_student
from tests.helpers.layouts.node import packages
from tests.helpers.search.search_world import SearchWorld


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with node_modules; tests may add scripts to it."""
    return packages(tmp_path_factory.getbasetemp().parent)


@pytest.fixture(scope="session")
def for_transformers_js(searched: SearchWorld, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LayoutReport]:
    """The small bundle as transformers.js loads it, and what was found; tests change nothing in it."""
    folder = tmp_path_factory.mktemp("layouts") / "transformers-js"
    return folder, write_layout(searched.bundle, "transformers-js", folder)


@pytest.fixture(scope="session")
def clip_shaped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with CLIP's vocabulary, exported together with its layout for PicQuery; tests change neither."""
    home = tmp_path_factory.mktemp("clip-shaped")
    asked = ("--target", "onnx", "--set", "min_cosine=0.9", "--set", "min_relative_recall=0", "--layout", "picquery")
    command = ["export", str(write_student(home)), "--out", str(home / "bundle"), *asked]
    called = [sys.executable, "-m", "conaclip_edge.cli.main", *command]
    done = subprocess.run(called, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return home / "bundle"
