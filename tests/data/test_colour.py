from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from conaclip_edge.data.preprocess import BadPicture, decode
from tests.helpers.colour_profiles import display_p3, srgb, stored_in

COLOURS = np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40), (0, 0, 0), (255, 255, 255)]], np.uint8)
PICTURE = Image.fromarray(COLOURS.repeat(16, 0).repeat(16, 1))


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, icc_profile=picture.info.get("icc_profile"), **options)
    return file.getvalue()


def error(found: Image.Image) -> int:
    assert found.mode == "RGB"
    return int(np.abs(np.asarray(found, int) - np.asarray(PICTURE, int)).max())


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_picture_stored_in_display_p3_has_the_colours_it_was_taken_with(kind):
    stored = stored_in(display_p3(), PICTURE)
    assert error(Image.fromarray(np.asarray(stored))) > 30, "the profile would change nothing"
    options = {"lossless": True} if kind == "WEBP" else {}
    assert error(decode(encoded(stored, kind, **options))) <= 4


def test_a_jpeg_decoded_at_a_fraction_has_them_too():
    large = stored_in(display_p3(), Image.new("RGB", (1600, 1200), (255, 0, 0)))
    found = decode(encoded(large, "JPEG", quality=95), size=96)
    assert found.size == (400, 300)
    assert np.abs(np.asarray(found, int)[9, 9] - (255, 0, 0)).max() <= 4


def test_transparency_outlives_the_profile():
    stored = stored_in(display_p3(), PICTURE)
    profile = stored.info["icc_profile"]
    half = Image.new("L", stored.size, 0)
    half.paste(255, (0, 8, stored.width, 16))
    stored.putalpha(half)
    stored.info["icc_profile"] = profile
    found = np.asarray(decode(encoded(stored)), int)
    assert (found[:8] == 255).all(), "transparent: white"
    assert np.abs(found[8:] - np.asarray(PICTURE, int)[8:]).max() <= 4, "opaque: the picture"


def test_a_palette_is_brought_to_srgb():
    stored = stored_in(display_p3(), PICTURE)
    palette = stored.quantize(16, dither=Image.Dither.NONE)
    palette.info["icc_profile"] = stored.info["icc_profile"]
    assert error(decode(encoded(palette))) <= 4


def test_a_profile_that_changes_nothing_leaves_every_bit_alone():
    random = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    picture = Image.fromarray(random)
    picture.info["icc_profile"] = srgb()
    assert np.array_equal(np.asarray(decode(encoded(picture))), random)


@pytest.mark.parametrize("profile", [b"no profile", b"", srgb()[:200]])
def test_a_damaged_profile_is_passed_over(profile):
    picture = Image.fromarray(np.asarray(PICTURE))
    picture.info["icc_profile"] = profile
    assert error(decode(encoded(picture))) == 0


def test_a_grey_profile_on_a_colour_picture_is_passed_over():
    grey = ImageCmsGrey().tobytes()
    picture = Image.fromarray(np.asarray(PICTURE))
    picture.info["icc_profile"] = grey
    assert error(decode(encoded(picture))) == 0


class ImageCmsGrey:
    """sRGB's profile that claims to be of grey pictures."""

    def tobytes(self) -> bytes:
        content = bytearray(srgb())
        content[16:20] = b"GRAY"
        return bytes(content)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (Image.fromarray(np.full((9, 9), 0.5, np.float32)), "floating-point numbers"),
        (Image.fromarray(np.full((9, 9), 200, np.int32)), "whole numbers of 32 bits"),
    ],
)
def test_numbers_whose_white_is_not_known_are_refused_not_black(picture, reason):
    with pytest.raises(BadPicture, match=reason):
        decode(encoded(picture, "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled(kind):
    picture = Image.fromarray(np.full((9, 9), 257 * 200, np.uint16))
    assert np.unique(np.asarray(decode(encoded(picture, kind)))).tolist() == [200]
