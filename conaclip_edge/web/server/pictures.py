"""The pictures of an index as the page shows them: a few decoded at a time, however many are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from conaclip_edge.search.folder.picture_folder import picture_bytes
from conaclip_edge.search.index import PictureIndex
from conaclip_edge.web.thumbnails import large, thumbnail

DECODERS = 2  # pictures that are decoded at a time: a browser asks for dozens at once, and one may take a gigabyte
_THUMBNAILS = 4096  # kept in memory, a few KB each


class PictureViews:
    """Views of an index's pictures as WebP.

    Args:
        index: of the pictures.
        small: makes a thumbnail of an encoded picture; the second argument is the index's `max_pixels`.
        whole: makes a view of a picture that browsers do not show.
    """

    def __init__(
        self,
        index: PictureIndex,
        small: Callable[[bytes, int], bytes] = thumbnail,
        whole: Callable[[bytes, int], bytes] = large,
    ):
        self._index, self._whole = index, whole
        self._decoders = asyncio.Semaphore(DECODERS)

        @lru_cache(maxsize=_THUMBNAILS)
        def kept(path: Path) -> bytes:
            return small(picture_bytes(path), index.max_pixels)

        self._small = kept

    async def thumbnail(self, key: int) -> bytes | None:
        """Return a picture's thumbnail; None for a key that the index does not have.

        Raises:
            OSError: the file cannot be read.
            BadPicture: it cannot be decoded.
        """
        path = self._index.path(key)
        return None if path is None else await self._decoded(self._small, path)

    async def whole(self, path: Path) -> bytes:
        """Return a view of a picture that browsers do not show; errors as `thumbnail`."""
        return await self._decoded(lambda file: self._whole(picture_bytes(file), self._index.max_pixels), path)

    async def _decoded(self, view: Callable[[Path], bytes], path: Path) -> bytes:
        async with self._decoders:
            return await run_in_threadpool(view, path)
