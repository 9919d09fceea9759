"""Who may talk to the server, and the headers of every answer."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from conaclip_edge.web.page import HEADERS


class Gate:
    """Refuses names that another site could have pointed at this machine (DNS rebinding), and posts of other sites.

    An address in numbers, `localhost`, this machine's own names and those that the server was given cannot be
    another site's.

    Args:
        app: what is guarded.
        host: name or address that the server listens on.
        allowed: other names that it is reached by; a proxy's may come as the Host or as the Origin of a post.
        prefix: path that a proxy has the server under; requests are taken with it and without it.
    """

    def __init__(self, app: ASGIApp, host: str, allowed: Sequence[str] = (), prefix: str = ""):
        self.app, self.prefix = app, prefix
        self.allowed = {_bare(name) for name in allowed}
        self.names = {"localhost", *own_names(), host.lower(), *self.allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.known(host):
            way_out = "use the address that it printed, or: serve --allow-host NAME"
            refusal = {"error": f"this server is not called {host[:100]!r}; {way_out}"}
            await JSONResponse(refusal, 421)(scope, receive, guarded)
        elif origin is not None and not self._own(origin, host):
            refusal = {"error": "another site may not ask this server. If it is your proxy: serve --allow-host NAME"}
            await JSONResponse(refusal, 403)(scope, receive, guarded)
        elif self.prefix and scope["path"] == self.prefix:  # the page's own addresses hang on the slash
            await RedirectResponse(f"{self.prefix}/")(scope, receive, guarded)
        else:
            await self.app(self._without_prefix(scope), receive, guarded)

    def _own(self, origin: str, host: str) -> bool:
        """Say whether a post comes from this server's own page: by the name it was asked by, or an allowed one."""
        try:
            found = urlsplit(origin)
            return found.netloc == host or (found.hostname or "") in self.allowed
        except ValueError:
            return False

    def _without_prefix(self, scope: Scope) -> Scope:
        path: str = scope["path"]
        if not self.prefix or not path.startswith(f"{self.prefix}/"):
            return scope
        bare = path.removeprefix(self.prefix)
        return {**scope, "path": bare, "raw_path": bare.encode()}

    def known(self, host: str) -> bool:
        """Say whether a Host header can only mean this server."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def own_names() -> set[str]:
    """Return the names by which others reach this machine: its host name, as it is, in full, and by mDNS."""
    name = socket.gethostname().lower().rstrip(".")
    short = name.partition(".")[0]
    return {name, short, f"{short}.local", f"{short}.lan", f"{short}.home.arpa"} - {""}


def _bare(name: str) -> str:
    """Take a name from what a person may give: a name, one with a port, or an address of a page."""
    try:
        return (urlsplit(name if "://" in name else f"//{name}").hostname or "").lower()
    except ValueError:
        return ""
