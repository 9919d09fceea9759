"""Listening: the socket, the server, and its end."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.system.progress import say


def serve_index(
    index: Path,
    bundle: Path | None,
    host: str,
    port: int,
    allowed: Sequence[str] = (),
    prefix: str = "",
    max_upload: int = 20,
) -> None:
    """Serve the page of an index until Ctrl-C.

    Args:
        index: folder of the index.
        bundle: encodes the queries; None takes the index's own.
        host: name or address to listen on.
        port: 0 takes a free one.
        allowed: other names that the server is reached by, as those of a proxy.
        prefix: path that a proxy has the server under, e.g. "/photos".
        max_upload: MB of a picture that is sent.

    Raises:
        UserError: what opening an index refuses, or a host or port that cannot be listened on.
    """
    from conaclip_edge.search.query import open_searcher

    with listen(host, port) as listener:
        searcher = open_searcher(index, bundle)
        import uvicorn

        from conaclip_edge.web.server.app import make_app
        from conaclip_edge.web.server.slow_clients import Impatient

        way = f"/{prefix.strip('/')}" if prefix.strip("/") else ""
        app = make_app(searcher, bundle or searcher.index.bundle, host, allowed, way, max_upload << 20)
        found = listener.getsockname()
        for address in addresses(found[0]):
            say(f"{len(searcher.index):,} pictures at http://{address}:{found[1]}{way}/ (Ctrl-C ends it)")
        if not ipaddress.ip_address(found[0].partition("%")[0]).is_loopback:
            say(f"everybody who reaches {host} can see these pictures; leave --host out to keep them to this machine")
        config = uvicorn.Config(
            app, http=Impatient, log_level="warning", server_header=False, timeout_graceful_shutdown=2
        )
        with suppress(KeyboardInterrupt):  # the way to end a server
            uvicorn.Server(config).run(sockets=[listener])


def addresses(bound: str) -> list[str]:
    """Return what to type into a browser for a server that is bound to an address.

    Args:
        bound: the address; one that means every address of this machine gives one that works here, and its mDNS name.
    """
    if ipaddress.ip_address(bound.partition("%")[0]).is_unspecified:
        name = socket.gethostname().partition(".")[0].lower()
        here = "[::1]" if ":" in bound else "127.0.0.1"
        return [here, f"{name}.local"] if name and name != "localhost" else [here]
    return [f"[{bound}]" if ":" in bound else bound]


def listen(host: str, port: int) -> socket.socket:
    """Bind a socket; UserError where that fails."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError, OverflowError) as error:
        raise UserError(f"cannot listen on host '{host}': {error}. Known to work: --host 127.0.0.1") from None
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} of {host} is in use. Choose another, e.g. --port {port + 1}, or --port 0 for a free one."
            ) from None
        raise UserError(f"cannot listen on {host}, port {port}: {error.strerror}. Choose another --port.") from None
    return found
