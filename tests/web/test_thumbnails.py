"""What a thumbnail of a large picture takes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from conaclip_edge.data.preprocess import decode
from conaclip_edge.web.thumbnails import SIDE, thumbnail


def encoded(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes at which Pillow brings files into memory."""
    sizes: list[tuple[int, int]] = []
    load = ImageFile.ImageFile.load

    def recorded(self: ImageFile.ImageFile) -> object:
        if self.tile:
            sizes.append(self.size)
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", recorded)
    return sizes


@pytest.mark.parametrize("size", [(7200, 6400), (7201, 6403)])
def test_a_large_jpeg_is_decoded_at_an_eighth_whatever_its_sides(size: tuple[int, int], loaded: list) -> None:
    small = Image.open(io.BytesIO(thumbnail(encoded(Image.new("RGB", size, (200, 30, 30)), "JPEG"))))
    assert loaded[0] == (-(-size[0] // 8), -(-size[1] // 8))
    assert max(small.size) == SIDE


def test_what_a_tower_sees_of_such_a_jpeg_is_still_decoded_whole(loaded: list) -> None:
    decode(encoded(Image.new("RGB", (2401, 1601)), "JPEG"), size=96)
    assert loaded == [(2401, 1601)]


def test_sixteen_bits_are_scaled_some_rows_at_a_time_to_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 65_536, (700, 40), dtype=np.uint16)
    most: list[int] = []
    rint = np.rint

    def recorded(numbers: np.ndarray) -> np.ndarray:
        most.append(numbers.size)
        return np.asarray(rint(numbers))

    monkeypatch.setattr(np, "rint", recorded)
    found = np.asarray(decode(encoded(Image.fromarray(values), "PNG")))[..., 0]
    monkeypatch.undo()
    np.testing.assert_array_equal(found, np.rint(values / 257).astype(np.uint8))
    assert sum(most) == values.size
    assert max(most) <= 256 * 40


def test_a_thumbnail_of_a_picture_that_is_not_large_is_of_the_whole(loaded: list) -> None:
    thumbnail(encoded(Image.new("RGB", (700, 500)), "JPEG"))
    assert loaded[0] == (700, 500)
