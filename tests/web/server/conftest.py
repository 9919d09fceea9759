"""One local page for all tests of the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from conaclip_edge.search.query import open_searcher
from conaclip_edge.web.server.app import make_app
from conaclip_edge.web.server.run import listen
from conaclip_edge.web.server.slow_clients import Impatient
from tests.helpers.devtools import Browser, browser
from tests.helpers.search.search_world import SearchWorld


@pytest.fixture(scope="session")
def app(searched: SearchWorld) -> Starlette:
    """The server's program."""
    return make_app(open_searcher(searched.index), searched.bundle, "127.0.0.1")


@contextmanager
def listening(app: Starlette) -> Iterator[str]:
    """Run a server; yields its address."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, http=Impatient, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def address(app: Starlette) -> Iterator[str]:
    """Where it listens."""
    with listening(app) as found:
        yield found


@pytest.fixture(scope="session")
def hasty_address(searched: SearchWorld) -> Iterator[str]:
    """Where a server listens that waits a fifth of a second for a picture."""
    with listening(make_app(open_searcher(searched.index), searched.bundle, "127.0.0.1", body_seconds=0.2)) as found:
        yield found


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A tab of a headless browser."""
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="session")
def outside(searched: SearchWorld) -> Path:
    """A file that is not in the index, beside the pictures that are."""
    path = searched.pictures.parent / "secret.png"
    path.write_bytes(b"secret")
    return path
