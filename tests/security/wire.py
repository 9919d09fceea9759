"""The server without a socket: the bytes of a client go in, the bytes that it would get come out."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

LAST = 16  # answers to one client that are looked at


class Wire(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.1", 50_000)})
        self.sent, self.closed = bytearray(), False

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """There is no more to read."""

    def resume_reading(self) -> None:
        """There is no more to read."""


class Server:
    """An ASGI application behind uvicorn's parser of HTTP."""

    def __init__(self, app: Any) -> None:
        self._config = uvicorn.Config(app, log_config=None, lifespan="off", http="h11", ws="none")
        self._config.load()

    def answers(self, data: bytes) -> list[tuple[int, bytes]]:
        """Let a client send bytes and hang up; return (status, body) of every answer that is whole.

        Raises:
            AssertionError: the server logged an error, which is how uvicorn tells an exception of the application.
        """
        logged: list[logging.LogRecord] = []
        handler = logging.Handler(logging.ERROR)
        handler.emit = logged.append  # type: ignore[method-assign]
        logger = logging.getLogger("uvicorn.error")
        logger.addHandler(handler)
        try:
            sent = asyncio.run(self._exchange(data))
        finally:
            logger.removeHandler(handler)
        for record in logged:
            raise AssertionError(record.getMessage()) from (record.exc_info or (None, None))[1]
        return _parsed(sent)

    async def _exchange(self, data: bytes) -> bytes:
        state, wire = ServerState(), Wire()
        protocol = H11Protocol(self._config, state, {}, asyncio.get_running_loop())
        protocol.connection_made(wire)
        if data:  # no socket gives none
            protocol.data_received(data)
        while state.tasks:
            if wire.closed or protocol.conn.their_state is h11.SEND_BODY:
                protocol.connection_lost(None)  # the rest will never come
            await asyncio.wait(list(state.tasks), timeout=0.02)
        protocol.connection_lost(None)
        return bytes(wire.sent)


def _parsed(sent: bytes) -> list[tuple[int, bytes]]:
    """Split what was sent into answers."""
    found: list[tuple[int, bytes]] = []
    while sent.startswith(b"HTTP/1.") and len(found) < LAST:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(sent)
        client.receive_data(b"")
        status, body = 0, b""
        try:
            while not isinstance(event := client.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += event.data
        except h11.RemoteProtocolError:  # an answer to HEAD, or one that the client did not wait for
            return [*found, (status, body)] if status else found
        found.append((status, body))
        sent = client.trailing_data[0]
    return found
