"""What the tests of layouts share: packages of npm, and layouts of one small bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from conaclip_edge.layouts.report import LayoutReport
from conaclip_edge.layouts.write import write_layout
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
