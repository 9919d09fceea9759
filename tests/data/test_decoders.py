from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from conaclip_edge.data import decoders
from conaclip_edge.data.decoders import HEIC, JPEG_XL, decoder_of, installed
from conaclip_edge.data.preprocess import MAX_PIXELS, BadPicture, decode, pixel_values, reduction


def heic(picture: Image.Image) -> bytes:
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(picture).save(file, quality=95)
    return file.getvalue()


def test_heic_is_decoded_wherever_pictures_are():
    data = heic(Image.new("RGB", (64, 48), (200, 30, 30)))
    assert decoder_of(data) == HEIC
    assert installed()["HEIC"]
    found = decode(data)
    assert found.size == (64, 48)
    assert np.abs(np.asarray(found, int)[9, 9] - (200, 30, 30)).max() < 8


def test_avif_needs_no_package_beside_pillow():
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(file, "AVIF")
    assert decoder_of(file.getvalue()) is None
    assert decode(file.getvalue()).size == (64, 48)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\x0a" + bytes(60), r"^is JPEG XL, which is not installed: pip install pillow-jxl-plugin$"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(60), r"^is JPEG XL, which is not installed"),
    ],
)
def test_a_format_whose_package_is_missing_names_it(data, message):
    assert decoder_of(data) == JPEG_XL
    with pytest.raises(BadPicture, match=message):
        decode(data)


def test_a_package_that_is_missing_is_no_error_of_the_picture_s_bytes(monkeypatch):
    data = heic(Image.new("RGB", (8, 8)))
    monkeypatch.setattr(decoders, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    decoders.available.cache_clear()
    try:
        with pytest.raises(BadPicture, match=r"^is HEIC, which is not installed: pip install 'conaclip-edge\[heic\]'$"):
            decode(data)
    finally:
        decoders.available.cache_clear()


def test_a_photo_of_108_megapixels_is_embedded_from_a_fraction():
    file = io.BytesIO()
    Image.new("RGB", (12001, 9001), "teal").save(file, "JPEG", quality=50)
    found = decode(file.getvalue(), max_pixels=64_000_000, size=96)
    assert found.size == (1501, 1126)
    assert pixel_values(file.getvalue(), 96).shape == (3, 96, 96)


def test_what_a_large_jpeg_may_be_divided_by():
    assert reduction(12_000, 9_000, 96) == 8
    assert reduction(12_001, 9_001, 96) == 1, "sides that do not divide are decoded whole"
    assert reduction(12_001, 9_001, 96, must=True) == 8
    assert reduction(900, 900, 96, must=True) == 1
    assert MAX_PIXELS >= 16_320 * 12_240, "a phone's 200 megapixels"


def test_a_transparent_picture_may_have_a_quarter_of_the_pixels():
    file = io.BytesIO()
    Image.new("RGBA", (30, 10)).save(file, "PNG")
    with pytest.raises(BadPicture, match=r"^30x10 pixels of a transparent picture \(each counts four times\) are more"):
        decode(file.getvalue(), max_pixels=1000)
    assert decode(file.getvalue(), max_pixels=1200).size == (30, 10)
