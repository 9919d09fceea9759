"""How long the server waits for a request: a client that sends one byte a second cannot hold a connection."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # for the head of a request, from the end of the one before


class Impatient(H11Protocol):
    """uvicorn's protocol, which closes a connection that does not finish the head of its next request in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        self._later(HEAD_SECONDS)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._since = self.loop.time()

    def _later(self, seconds: float) -> None:
        self._watch: Any = self.loop.call_later(seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        left = HEAD_SECONDS - (self.loop.time() - self._since)
        waiting = self.conn.their_state is h11.IDLE  # not one whole head since the last request
        if waiting and left <= 0:
            self.transport.close()
        else:
            self._later(left if waiting else HEAD_SECONDS)
