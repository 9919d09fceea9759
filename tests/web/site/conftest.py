"""One site for all tests of the static page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conaclip_edge.web.measure.local_server import serve_folder
from conaclip_edge.web.site.build import build_site
from tests.helpers.devtools import Browser, browser
from tests.helpers.search.search_world import SearchWorld


@pytest.fixture(scope="session")
def site(searched: SearchWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their site; tests do not change it."""
    folder = tmp_path_factory.mktemp("site") / "site"
    build_site(searched.bundle, searched.index, folder, "Bars: CC0 <b>")
    return folder


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A tab of a headless browser."""
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    with serve_folder(site) as found:
        yield found
