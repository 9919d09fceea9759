"""From encoded bytes to pixels: the one written-down algorithm that the apps have to repeat.

1. Decode, apply the EXIF orientation, bring the colours of an embedded profile to sRGB, convert to RGB (16 bits are
   scaled to 8); transparent pixels are laid over white.
2. Resize so that the shorter side is `size` (the other side rounded to the nearest pixel), bicubic with antialiasing
   (Pillow's BICUBIC, a = -0.5, support scaled by the shrink factor); or bilinear, for towers trained so.
3. Crop the centre `size` x `size`; an odd remainder leaves one more pixel on the right / bottom.
   Towers that were trained on squashed pictures have both sides resized to `size` instead, and nothing is cropped.
4. Divide by 255. Mean and standard deviation are inside the exported graph.

A JPEG of a megapixel or more may be decoded at an eighth, a quarter or a half of its size (scaled inverse DCT), at the
smallest of these that divides both sides and leaves the shorter one at least `KEPT` * `size` pixels, before step 2.
`pixel_values` does so; golden pixels come from whole decoding, which is always right. Plain train pictures that are
decoded for every step may lose more (`decode_reduced` leaves `TRAINING_KEPT` * size): nothing is measured on them.
"""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from conaclip_edge.config.model import ImageTowerConfig, Resample, Resize
from conaclip_edge.data.colour import to_srgb
from conaclip_edge.data.decoders import available, decoder_of
from conaclip_edge.errors import one_line
from conaclip_edge.system.files import read_json

PREPROCESS_SCHEMA = "conaclip-edge/preprocess/1"
MAX_PIXELS = 210_000_000  # a phone's 200 megapixels: 630 MB while a picture that is no JPEG is decoded
_ORIENTATION = 0x0112  # the EXIF tag
MAX_ASPECT = 100  # the shorter side is scaled to the input's size, so a thinner picture would take gigabytes
REDUCTIONS = [8, 4, 2]  # of the sides of a JPEG
REDUCED_FROM = 1_000_000  # pixels; a smaller picture is quick to decode as it is
KEPT = 2.5  # pixels left of each target pixel: the least cosine measured between embeddings is 0.9991 (at 2: 0.998)
TRAINING_KEPT = 1.25  # the same while a student trains: a test keeps the mean difference below 1.2 of 255 levels
_BAND = 256  # rows that are scaled from 16 bits to 8 at a time
_FILTERS: dict[Resample, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
AUGMENTATION = "crop-turn-light/1"  # names what `augment` does; caches of augmented views depend on it


# Pillow refuses pictures above 179 million pixels by itself; `max_pixels` is the limit here
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Preprocess:
    """What is done to a picture before an image tower sees it.

    Attributes:
        size: side of the tower's input in pixels.
        resize: crop: the shorter side becomes `size`, then the centre is cut out; squash: both sides become `size`.
        resample: the filter of the resize.
    """

    size: int
    resize: Resize = "crop"
    resample: Resample = "bicubic"

    @classmethod
    def of(cls, tower: ImageTowerConfig) -> Preprocess:
        """Return what an image tower wants done to a picture."""
        return cls(tower.size, tower.resize, tower.resample)


class BadPicture(Exception):
    """A picture that cannot be used; the message is the reason shown in summaries, one line."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


def decode(data: bytes, max_pixels: int = MAX_PIXELS, size: int | None = None, *, rounded: bool = False) -> Image.Image:
    """Decode encoded bytes to an upright RGB picture in sRGB.

    Args:
        data: of any format that Pillow knows, or a package of `conaclip_edge.data.decoders`.
        max_pixels: a picture that takes more pixels of memory is refused; a transparent one takes four times its own.
        size: of the input that it will be resized to; a large JPEG may then come out smaller. Left out: never.
        rounded: it may do so where a side has to be rounded to the next pixel, too; for thumbnails.

    Raises:
        BadPicture: the bytes are no picture, are cut off, claim more than `max_pixels` pixels (found in the header,
            before any pixel is decoded), are too thin to be a picture, or their kind of number has no one meaning.
    """

    def by(width: int, height: int) -> int:
        return reduction(width, height, size, rounded or width * height > max_pixels) if size else 1

    return _decoded(data, max_pixels, by)


def decode_reduced(data: bytes, max_pixels: int, size: int) -> Image.Image:
    """Decode a train picture to RGB as `decode` does; a JPEG, at a size a little above the input's.

    For plain views alone: a crop of so few pixels would lie half a pixel beside the one that the teacher saw.

    Args:
        data: encoded bytes.
        max_pixels: as in `decode`.
        size: of the input.

    Raises:
        BadPicture: as `decode`.
    """

    def by(width: int, height: int) -> int:
        return next((by for by in REDUCTIONS if min(width, height) >= by * TRAINING_KEPT * size), 1)

    return _decoded(data, max_pixels, by)


def _decoded(data: bytes, max_pixels: int, reduced_by: Callable[[int, int], int]) -> Image.Image:
    decoder = decoder_of(data)
    if decoder and not available(decoder):
        raise BadPicture(f"is {decoder.name}, which is not installed: pip install {decoder.install}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of odd metadata
            return upright_rgb(_opened(data, max_pixels, reduced_by))  # no name here keeps the first form in memory
    except BadPicture:
        raise
    except UnidentifiedImageError as error:  # its own message names a memory address
        raise BadPicture("cannot be decoded (no picture format that Pillow knows)") from error
    except Exception as error:  # Pillow's plugins raise almost anything on broken files
        raise BadPicture(f"cannot be decoded ({type(error).__name__}: {error})") from error


def _opened(data: bytes, max_pixels: int, reduced_by: Callable[[int, int], int]) -> Image.Image:
    """Refuse a picture by its header if it is too large or too thin; let a large JPEG be decoded at a fraction."""
    picture: Image.Image = Image.open(io.BytesIO(data))
    width, height = picture.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadPicture(f"{width}x{height} pixels are a line, not a picture (sides above {MAX_ASPECT}:1)")
    if (by := reduced_by(width, height)) > 1:
        picture.draft(None, (width // by, height // by))  # nothing happens to other formats
    transparent = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    if math.prod(picture.size) * (4 if transparent else 1) > max_pixels:
        kind = " of a transparent picture (each counts four times)" if transparent else ""
        raise BadPicture(f"{width}x{height} pixels{kind} are more than max_pixels = {max_pixels}")
    return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scale 16 bits to 8, which Pillow would clip at 255; refuse numbers whose white is not known."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PPM", "PNG")):
        width, height = picture.size
        levels = np.empty((height, width), np.uint8)
        for top in range(0, height, _BAND):  # all at once would be 17 bytes for each pixel
            band = np.asarray(picture.crop((0, top, width, min(top + _BAND, height))))
            levels[top : top + _BAND] = np.rint(band.clip(0, 65535) / 257)
        return Image.fromarray(levels)
    if picture.mode in ("I", "F"):
        kind = "whole numbers of 32 bits" if picture.mode == "I" else "floating-point numbers"
        raise BadPicture(f"its pixels are {kind}, of which nothing says how bright white is. Save it with 8 or 16 bits")
    return picture


def upright_rgb(picture: Image.Image) -> Image.Image:
    """Bring a picture to upright RGB in sRGB with white behind transparency (step 1); the given one is not changed.

    Raises:
        BadPicture: its numbers have no one meaning.
    """
    picture.load()  # some formats have the orientation behind the pixels
    if picture.getexif().get(_ORIENTATION, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    picture = _eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        profile = picture.info.get("icc_profile")
        picture = picture.convert("RGBA")
        picture.info["icc_profile"] = profile
        picture = to_srgb(picture)
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    if picture.mode == "P":
        picture = picture.convert("RGB")
    picture = to_srgb(picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def reduction(width: int, height: int, size: int, must: bool = False) -> int:
    """Return by what the sides of a JPEG may be divided while it is decoded for an input of `size`; 1: not at all.

    Args:
        width: of the picture.
        height: of the picture.
        size: of the input.
        must: a side may be rounded to the next pixel, as of a picture that is too large to be decoded whole.
    """
    if width * height < REDUCED_FROM:
        return 1
    return next(
        (
            by
            for by in REDUCTIONS
            if (must or not (width % by or height % by)) and min(width, height) >= by * KEPT * size
        ),
        1,
    )


def resize_crop(picture: Image.Image, size: int, resample: Resample = "bicubic") -> Image.Image:
    """Bring an RGB picture to `size` x `size` by steps 2 and 3."""
    width, height = picture.size
    scale = size / min(width, height)
    target = (max(size, round(width * scale)), max(size, round(height * scale)))
    if target != picture.size:
        picture = picture.resize(target, _FILTERS[resample])
    left, top = (target[0] - size) // 2, (target[1] - size) // 2
    return picture.crop((left, top, left + size, top + size))


def to_pixels(picture: Image.Image, preprocess: Preprocess | int) -> np.ndarray:
    """Turn an RGB picture into uint8 pixels [3, size, size] by steps 2 and 3; a bare size: cropped, bicubic."""
    how = Preprocess(preprocess) if isinstance(preprocess, int) else preprocess
    if how.resize == "squash":
        made = picture.resize((how.size, how.size), _FILTERS[how.resample])
    else:
        made = resize_crop(picture, how.size, how.resample)
    return np.ascontiguousarray(np.asarray(made).transpose(2, 0, 1))


def pixel_values(data: bytes, preprocess: Preprocess | int, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Turn encoded bytes into a tower's input: float32 [3, size, size] in [0, 1]; a bare size: cropped, bicubic."""
    size = preprocess if isinstance(preprocess, int) else preprocess.size
    return to_pixels(decode(data, max_pixels, size), preprocess).astype(np.float32) / 255.0


def augment(picture: Image.Image, seed: tuple[int, ...]) -> Image.Image:
    """Return the augmented view of a picture that belongs to a seed: same seed, same view, on every machine.

    A random square crop of 65-100 % of the area, a turn of up to 10 degrees and a change of brightness and contrast of
    up to 15 %. No mirroring: captions may say left or right.
    """
    random = np.random.default_rng(seed)
    width, height = picture.size
    side = min(width, height) * float(np.sqrt(random.uniform(0.65, 1.0)))
    left = float(random.uniform(0, width - side))
    top = float(random.uniform(0, height - side))
    picture = picture.rotate(float(random.uniform(-10, 10)), Image.Resampling.BILINEAR, fillcolor=(255, 255, 255))
    first, last = (round(left), round(top)), (round(left + side), round(top + side))
    # of a picture one pixel wide, one pixel has to stay
    picture = picture.crop((*first, max(last[0], first[0] + 1), max(last[1], first[1] + 1)))
    gain, offset = random.uniform(0.85, 1.15), random.uniform(-0.1, 0.1) * 255
    pixels = np.asarray(picture, dtype=np.float32)
    middle = pixels.mean()
    pixels = (pixels - middle) * float(gain) + middle + float(offset)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def describe(preprocess: Preprocess) -> dict[str, object]:
    """The algorithm as data, for `preprocess.json`."""
    size = preprocess.size
    squash = preprocess.resize == "squash"
    sides: dict[str, object] = {"width": size, "height": size} if squash else {"shorter_side": size}
    bicubic: dict[str, object] = {"a": -0.5} if preprocess.resample == "bicubic" else {}
    return {
        "schema": PREPROCESS_SCHEMA,
        "size": size,
        "color": "RGB, EXIF orientation applied, embedded colour profile to sRGB, transparency over white",
        "jpeg": {"may_reduce_by": REDUCTIONS, "from_pixels": REDUCED_FROM, "keep_shorter_side": KEPT * size},
        "resize": sides | {"filter": preprocess.resample} | bicubic | {"antialias": True},
        "crop": None if squash else "center",
        "scale": 1 / 255,
        "layout": "NCHW float32",
        "normalisation": "inside the graph",
    }


def read_preprocess(file: Path, size: int) -> Preprocess:
    """Return the steps that a `preprocess.json` asks for: cropped and bicubic where it says nothing that is known.

    Args:
        file: of a bundle.
        size: of its image tower's input.

    Raises:
        UserError: there is no such file, or it is no JSON.
    """
    content = read_json(file, "preprocessing")
    read = content if isinstance(content, dict) else {}
    for resize, resample in itertools.product(get_args(Resize), get_args(Resample)):
        steps = Preprocess(size, resize, resample)
        wanted = describe(steps)
        if all(key in read and read[key] == wanted[key] for key in ("resize", "crop")):
            return steps
    return Preprocess(size)
