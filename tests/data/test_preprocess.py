"""From bytes to pixels: every kind of file, upright and on white; the written-down resize; seeded views."""

from __future__ import annotations

import io
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from transformers import SiglipImageProcessorPil

from conaclip_edge.data.preprocess import (
    MAX_PIXELS,
    BadPicture,
    Preprocess,
    augment,
    decode,
    decode_reduced,
    describe,
    pixel_values,
    read_preprocess,
    reduction,
    resize_crop,
    to_pixels,
)
from tests.oracles.resize import resize

# red, green / blue, black: every orientation gives another picture
CORNERS = np.array([[[255, 0, 0]] * 3 + [[0, 255, 0]] * 3] * 2 + [[[0, 0, 255]] * 3 + [[0, 0, 0]] * 3] * 2, np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    picture = decode(data)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_rgb_is_kept_as_it_is() -> None:
    assert np.array_equal(pixels(encoded(Image.fromarray(CORNERS))), CORNERS)


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("L", "JPEG"), ("1", "PNG")])
def test_grey_becomes_three_equal_channels(mode: str, kind: str) -> None:
    grey = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 8, axis=1).repeat(8, axis=0)).convert(mode)
    found = pixels(encoded(grey, kind))
    assert np.array_equal(found[..., 0], found[..., 1])
    assert np.array_equal(found[..., 1], found[..., 2])
    assert np.abs(found[..., 0].astype(int) - np.asarray(grey.convert("L")).astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("ink", "colour"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 255, 0), (255, 255, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_cmyk_jpeg_has_its_inks_the_right_way_round(ink: tuple[int, ...], colour: tuple[int, ...]) -> None:
    found = pixels(encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=95))
    assert np.abs(found.astype(int) - np.array(colour)).max() <= 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P with transparency", "RGB with a transparent colour"])
def test_transparent_pixels_are_white(mode: str) -> None:
    """The right half is transparent black, the left half opaque grey."""
    grey, clear = (90, 90, 90), (0, 0, 0)
    if mode.startswith("RGB with"):
        picture = Image.new("RGB", (8, 4), grey)
        picture.paste(clear, (4, 0, 8, 4))
        data = encoded(picture, transparency=clear)
    elif mode.startswith("P with"):
        palette = Image.new("P", (8, 4), 0)
        palette.putpalette([*grey, *clear])
        palette.paste(1, (4, 0, 8, 4))
        data = encoded(palette, transparency=bytes([255, 0]))
    else:
        whole = Image.new("RGBA", (8, 4), (*grey, 255))
        whole.paste((*clear, 0), (4, 0, 8, 4))
        data = encoded(whole.convert(mode))
    found = pixels(data)
    assert np.all(found[:, :4] == 90)
    assert np.all(found[:, 4:] == 255)


def test_half_transparent_is_mixed_with_white() -> None:
    assert pixels(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 51))))[0, 0].tolist() == [204, 204, 204]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    levels = np.array([[0, 257 * 64, 257 * 128 + 100, 65535]], dtype=np.uint16).repeat(4, axis=0)
    found = pixels(encoded(Image.fromarray(levels), kind))
    assert found[0, :, 0].tolist() == [0, 64, 128, 255]
    assert np.array_equal(found[..., 0], found[..., 2])


STORED = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.swapaxes(0, 1),
    6: np.rot90(CORNERS, 1),
    7: CORNERS[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(CORNERS, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_undone(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    assert np.array_equal(pixels(encoded(stored, exif=exif)), CORNERS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_truncated_picture_is_bad(kind: str) -> None:
    data = encoded(noise(64, 64), kind)
    with pytest.raises(BadPicture, match="cannot be decoded"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + b"\0" * 50])
def test_bytes_that_are_no_picture_are_bad_and_the_reason_is_the_same_every_time(data: bytes) -> None:
    reasons = set()
    for _ in range(2):
        with pytest.raises(BadPicture, match=r"^cannot be decoded") as error:
            decode(data)
        reasons.add(str(error.value))
    assert len(reasons) == 1


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((1001, 1000), "1001x1000 pixels are more than max_pixels = 1000000"),
        ((40_000, 40_000), "40000x40000 pixels are more than max_pixels = 1000000"),
        ((10_100, 90), "10100x90 pixels are a line, not a picture"),
        ((1, 1000), "1x1000 pixels are a line, not a picture"),
    ],
)
def test_a_bomb_is_refused_before_any_pixel_is_decoded(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], reason: str
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(BadPicture, match=reason):
        decode(claiming(*size), max_pixels=1_000_000)


def test_a_picture_at_the_limit_is_decoded() -> None:
    assert decode(encoded(noise(10, 10)), max_pixels=100).size == (10, 10)
    assert decode(encoded(noise(200, 2)), max_pixels=400).size == (200, 2)


@pytest.mark.parametrize("size", [(50, 37), (37, 50), (17, 17), (90, 9), (31, 64)])
@pytest.mark.parametrize("target", [8, 17, 40])
def test_resizing_is_the_written_down_bicubic_with_a_centre_crop(size: tuple[int, int], target: int) -> None:
    picture = noise(*size)
    width, height = size
    short = min(size)
    wide, tall = round(width * target / short), round(height * target / short)
    left, top = (wide - target) // 2, (tall - target) // 2
    found = np.asarray(resize_crop(picture, target)).astype(float)
    assert found.shape == (target, target, 3)
    errors = []
    for across_first in (True, False):  # which pass comes first is Pillow's choice, by cost
        whole = resize(np.asarray(picture), wide, tall, across_first)
        errors.append(np.abs(found - whole[top : top + target, left : left + target]))
    error = min(errors, key=np.mean)
    # Pillow's fixed-point weights may round the other way
    assert error.max() <= 1
    assert np.mean(error > 0) < 0.02


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    picture = noise(24, 24)
    assert np.array_equal(np.asarray(resize_crop(picture, 24)), np.asarray(picture))
    wide = noise(31, 24)  # seven too many: three off the left, four off the right
    assert np.array_equal(np.asarray(resize_crop(wide, 24)), np.asarray(wide)[:, 3:27])
    tall = noise(24, 31)
    assert np.array_equal(np.asarray(resize_crop(tall, 24)), np.asarray(tall)[3:27])


def test_a_flat_picture_stays_flat() -> None:
    assert np.all(to_pixels(Image.new("RGB", (300, 170), (12, 200, 99)), 32) == np.array([12, 200, 99])[:, None, None])


def test_pixel_values_are_channels_first_in_unit_range() -> None:
    values = pixel_values(encoded(Image.fromarray(CORNERS.repeat(10, 0).repeat(10, 1))), 16)
    assert values.shape == (3, 16, 16)
    assert values.dtype == np.float32
    assert values.min() == 0
    assert values.max() == 1
    assert values[:, 0, 0].tolist() == [1, 0, 0]
    assert values[:, -1, 0].tolist() == [0, 0, 1]


def scene(width: int, height: int) -> Image.Image:
    """Shapes with sharp edges on a ramp, and some grain: what a camera's picture is made of."""
    y, x = np.mgrid[0:height, 0:width] / min(width, height)
    levels = np.stack([60 + 90 * x, 200 - 80 * y, 40 + 60 * (x + y)], -1)
    levels[(x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.05] = (240, 200, 30)
    levels[(np.sin(50 * x * (1 + y)) > 0.3) & (y > 0.7)] = (20, 60, 20)
    levels += np.random.default_rng(0).normal(0, 6, (height, width, 1))
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("width", "height", "size", "by"),
    [
        (4000, 3000, 224, 4),  # an eighth would leave 375 of the 560 that are kept
        (4000, 3000, 128, 8),
        (3000, 4000, 151, 4),  # an eighth would leave 375 of 377.5
        (4002, 3000, 128, 2),  # 4002 is no multiple of 4 or 8
        (4001, 3000, 128, 1),
        (1000, 1000, 201, 1),
        (1000, 1000, 200, 2),
        (1248, 800, 32, 1),  # below a megapixel
    ],
)
def test_a_jpeg_is_reduced_as_far_as_the_rule_lets_it(width: int, height: int, size: int, by: int) -> None:
    assert reduction(width, height, size) == by
    if by > 1:
        assert not width % by
        assert not height % by
        assert min(width, height) // by >= 2.5 * size


@pytest.mark.parametrize(("orientation", "size"), [(1, 60), (6, 60), (3, 120)])
def test_a_reduced_jpeg_gives_nearly_the_pixels_of_the_whole_one(orientation: int, size: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(1600, 1200), "JPEG", quality=90, exif=exif)
    small = decode(data, size=size)
    by = reduction(1600, 1200, size)
    assert by > 1
    assert small.size == ((1200 // by, 1600 // by) if orientation == 6 else (1600 // by, 1200 // by))
    whole = to_pixels(decode(data), size).astype(float)
    found = pixel_values(data, size) * 255
    off = np.abs(found - whole)
    assert 0 < off.mean() < 0.5
    assert np.percentile(off, 99) <= 4
    # one pixel of shift is far more than that
    assert np.abs(whole[:, :, 1:] - whole[:, :, :-1]).mean() > 3 * off.mean()


@pytest.mark.parametrize(("size", "by"), [(224, 2), (96, 4), (300, 1)])
def test_a_train_picture_is_decoded_a_little_above_the_input_s_size(size: int, by: int) -> None:
    data = encoded(scene(816, 612), "JPEG", quality=90)
    small = decode_reduced(data, MAX_PIXELS, size)
    assert small.size == (816 // by, 612 // by)
    found, whole = (to_pixels(picture, size).astype(float) for picture in (small, decode(data)))
    off = np.abs(found - whole).mean()
    assert (off == 0) == (by == 1)
    assert off <= 1.2  # of 255 levels
    assert np.abs(whole[:, :, 1:] - whole[:, :, :-1]).mean() >= 5 * off  # as a shift by a pixel would change


def test_what_is_no_jpeg_or_small_is_decoded_as_it_is() -> None:
    large, small = encoded(scene(1600, 1200), "PNG"), encoded(scene(640, 480), "JPEG")
    for data in (large, small):
        assert np.array_equal(pixel_values(data, 64), to_pixels(decode(data), 64).astype(np.float32) / 255)


def test_a_cut_off_jpeg_is_bad_when_reduced_too() -> None:
    data = encoded(scene(1600, 1200), "JPEG")
    with pytest.raises(BadPicture, match="cannot be decoded"):
        decode(data[: len(data) // 2], size=60)


def test_a_reduced_cmyk_jpeg_has_its_colours() -> None:
    data = encoded(Image.new("CMYK", (1600, 1200), (255, 0, 0, 0)), "JPEG", quality=95)
    assert decode(data, size=60).size == (200, 150)
    assert np.abs(pixel_values(data, 60) * 255 - np.array([0, 255, 255])[:, None, None]).max() <= 3


def test_the_description_for_the_apps_names_what_is_done() -> None:
    written = json.loads(json.dumps(describe(Preprocess(96))))
    assert written["schema"] == "conaclip-edge/preprocess/1"
    assert written["size"] == written["resize"]["shorter_side"] == 96
    assert written["resize"]["a"] == -0.5
    assert written["resize"]["antialias"] is True
    assert written["scale"] == 1 / 255
    assert written["jpeg"] == {"may_reduce_by": [8, 4, 2], "from_pixels": 1_000_000, "keep_shorter_side": 240}


@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(70, 31), (16, 90), (24, 24), (300, 205)])
def test_squashed_pixels_are_those_of_transformers(shape, resample) -> None:
    processor = SiglipImageProcessorPil(size={"height": 24, "width": 24}, resample=3 if resample == "bicubic" else 2)
    picture = noise(*shape)
    given = processor(images=picture, return_tensors="np")["pixel_values"][0]
    found = to_pixels(picture, Preprocess(24, "squash", resample)).astype(float)
    assert np.abs(found - (given * 0.5 + 0.5) * 255).max() <= 1


@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_a_large_jpeg_that_is_squashed_is_close_to_its_whole_decoding(resample) -> None:
    ramp = np.linspace(0, 255, 1600)[:, None, None] * np.linspace(0.2, 1, 1200)[None, :, None] * np.ones(3)
    data = encoded(Image.fromarray(ramp.astype(np.uint8)), "JPEG", quality=95)
    steps = Preprocess(60, "squash", resample)
    whole = to_pixels(decode(data), steps).astype(float)
    assert np.abs(pixel_values(data, steps) * 255 - whole).max() <= 3


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_the_description_is_read_back(tmp_path, resize, resample) -> None:
    steps = Preprocess(48, resize, resample)
    (tmp_path / "preprocess.json").write_text(json.dumps(describe(steps)), "utf-8")
    assert read_preprocess(tmp_path / "preprocess.json", 48) == steps


def test_a_view_belongs_to_its_seed() -> None:
    picture = noise(60, 50)
    one, again, other = (np.asarray(augment(picture, seed)) for seed in ((1, 7), (1, 7), (1, 8)))
    assert np.array_equal(one, again)
    assert one.shape != other.shape or not np.array_equal(one, other)


def test_the_views_stay_what_they_were() -> None:
    """Caches hold what the teacher said of these views; another algorithm needs another AUGMENTATION."""
    ramp = np.add.outer(np.arange(40) * 3, np.arange(56) * 2)[..., None] + np.array([0, 10, 25])
    found = np.asarray(augment(Image.fromarray(ramp.astype(np.uint8)), (2, 5)), dtype=float)
    assert found.shape == (38, 38, 3)
    wanted = [255, 27, 59, 91, 33, 65, 97, 129, 71, 103, 135, 167, 109, 141, 173, 203]
    assert found[::12, ::12, 0].ravel().tolist() == pytest.approx(wanted, abs=2)


def test_a_view_is_a_crop_of_the_promised_area_never_mirrored() -> None:
    halves = Image.fromarray(np.concatenate([np.full((80, 60, 3), 60), np.full((80, 60, 3), 200)], 1).astype(np.uint8))
    sides = []
    for seed in range(60):
        view = np.asarray(augment(halves, (seed,))).astype(float)
        sides.append(view.shape[0])
        assert abs(view.shape[0] - view.shape[1]) <= 1
        middle = view[len(view) // 2]
        assert middle[:8].mean() <= middle[-8:].mean() + 1  # dark stays left
    assert 0.8 * 80 - 1 <= min(sides) < max(sides) <= 80


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 3), (5, 2)])
def test_the_smallest_pictures_have_views_too(size: tuple[int, int]) -> None:
    for seed in range(20):
        assert min(augment(Image.new("RGB", size, "red"), (seed,)).size) >= 1
