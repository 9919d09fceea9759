"""A site on this machine for as long as it is looked at, with the headers that let its page use threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from conaclip_edge.web.page import HEADERS

_LARGEST = 1 << 20


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012  # the base class declares it so
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".webp": "image/webp",
    }

    def __init__(self, *arguments: object, report: Callable[[bytes], None], directory: str):
        self._report = report
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]  # handed on as they came

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def do_POST(self) -> None:
        self._report(self.rfile.read(min(_LARGEST, int(self.headers.get("Content-Length", 0)))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def serve_folder(folder: Path, report: Callable[[bytes], None] = lambda body: None) -> Iterator[str]:
    """Yield the address of a folder served on a free loopback port; `report` gets the body of each POST."""
    handler = partial(_Handler, report=report, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
