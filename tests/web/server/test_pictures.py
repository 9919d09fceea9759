"""How many pictures the server decodes at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from conaclip_edge.search.commands import index_pictures
from conaclip_edge.search.index import PictureIndex, open_index
from conaclip_edge.web.server.pictures import DECODERS, PictureViews
from tests.helpers.search.small_index import write_bundle, write_pictures


class Decoder:
    """Stands for the decoder; records how many pictures it had at a time, and the limits that it was given."""

    def __init__(self) -> None:
        self.lock, self.now, self.most, self.calls = threading.Lock(), 0, 0, 0
        self.limits: set[int] = set()

    def __call__(self, data: bytes, max_pixels: int) -> bytes:
        with self.lock:
            self.now += 1
            self.calls += 1
            self.most = max(self.most, self.now)
            self.limits.add(max_pixels)
        time.sleep(0.01)
        with self.lock:
            self.now -= 1
        return data


@pytest.fixture
def index(tmp_path: Path) -> PictureIndex:
    bundle, pictures = write_bundle(tmp_path / "bundle"), write_pictures(tmp_path / "pictures", 30)
    index_pictures(bundle, pictures, tmp_path / "index", max_pixels=1234)
    return open_index(tmp_path / "index")


def test_however_many_are_asked_for_few_are_decoded_at_a_time_and_each_once(index: PictureIndex) -> None:
    decoder = Decoder()

    async def ask() -> list[bytes | None]:
        views = PictureViews(index, decoder, decoder)
        paths = [path for key in range(1, 31) if (path := index.path(key))]
        found = await asyncio.gather(*(views.thumbnail(key) for key in range(1, 31)), *map(views.whole, paths))
        assert await views.thumbnail(99) is None
        return [*found, *[await views.thumbnail(key) for key in range(1, 31)]]

    found = asyncio.run(ask())
    assert all(found)
    assert found[:30] == found[60:]
    assert decoder.most == DECODERS
    assert decoder.calls == 60, "a thumbnail is kept"
    assert decoder.limits == {1234}
