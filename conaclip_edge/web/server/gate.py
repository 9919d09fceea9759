"""Who may talk to the server, and the headers of every answer."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from conaclip_edge.web.page import HEADERS


class Gate:
    """Refuses names that another site could have pointed at this machine (DNS rebinding), and posts of other sites.

    An address in numbers, `localhost`, this machine's own name and the name that the server listens on
    cannot be another site's.
    """

    def __init__(self, app: ASGIApp, host: str):
        self.app = app
        self.names = {"localhost", socket.gethostname().lower(), host.lower()}

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
            refusal = {"error": f"this server is not called {host[:100]!r}; use the address that it printed."}
            await JSONResponse(refusal, 421)(scope, receive, guarded)
        elif origin is not None and urlsplit(origin).netloc != host:
            await JSONResponse({"error": "another site may not ask this server."}, 403)(scope, receive, guarded)
        else:
            await self.app(scope, receive, guarded)

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
