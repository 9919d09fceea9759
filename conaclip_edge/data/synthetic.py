"""Made-up inputs without a partner: pictures composed of train pictures, phrases composed of words.

A teacher answers for any picture and any text, so a student can learn the teacher's function instead of its answers on
the few train pairs (Beyer et al., arXiv 2106.05237). What is made depends on the train split and the words alone and is
the same in every run.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import BadPicture, decode, resize_crop
from conaclip_edge.system.files import sha256_text

COMPOSITION = "flip-turn-overlay/1"  # names what `compose` does; caches of synthetic pictures depend on it
SIDE = 224
WORDS_A_PHRASE = (1, 2, 2, 2, 3, 3, 4)
CAPTION_WORDS = 0.4  # share of a phrase's words that come from captions rather than from the whole vocabulary
_WHITE = (255, 255, 255)


def synthetic_texts(captions: Iterable[str], vocabulary: Sequence[str], count: int) -> list[str]:
    """Make phrases of one to four random words.

    Args:
        captions: of the train split; their words are drawn the more often.
        vocabulary: other words, e.g. those that a tokenizer knows as one piece.
        count: of phrases.
    """
    random = np.random.default_rng(41)
    known = sorted({word for text in captions for word in text.split() if word.isalpha()})
    sources = [source for source in (known, vocabulary) if len(source)]
    if not sources:
        return []

    def word() -> str:
        source = sources[0] if random.random() < CAPTION_WORDS else sources[-1]
        return source[int(random.integers(len(source)))]

    return [" ".join(word() for _ in range(random.choice(WORDS_A_PHRASE))) for _ in range(count)]


def synthetic_pictures(pairs: Pairs, rows: np.ndarray, count: int, max_pixels: int = 64_000_000) -> Pairs:
    """Return a data set of `count` pictures without captions, each composed of one or two of the given rows.

    Args:
        pairs: the data set to compose from.
        rows: its train pictures; all of them decode.
        count: of pictures.
        max_pixels: as in `decode`.
    """

    def read(place: int) -> bytes:
        random = np.random.default_rng((43, place))
        chosen = [pairs.read(int(row)) for row in random.choice(rows, 2)]
        buffer = io.BytesIO()
        compose([square(data, max_pixels) for data in chosen], random).save(buffer, "BMP")  # the quickest lossless one
        return buffer.getvalue()

    return Pairs(
        name=f"{pairs.name}, composed",
        keys=[f"composed-{place}" for place in range(count)],
        captions=[()] * count,
        splits=["train"] * count,
        read=read,
        stamp=sha256_text(pairs.content, COMPOSITION, *(str(row) for row in rows)),
        licence=pairs.licence,
    )


def square(data: bytes, max_pixels: int) -> Image.Image:
    """Decode a picture and cut it to SIDE x SIDE; what broke since it was checked is the caller's error."""
    try:
        return resize_crop(decode(data, max_pixels), SIDE)
    except BadPicture as error:
        raise OSError(str(error)) from error


def compose(pictures: Sequence[Image.Image], random: np.random.Generator) -> Image.Image:
    """Compose one SIDE x SIDE picture of two.

    With equal chances: the first alone (twice as often), larger or smaller and off the centre; both side by side or
    one above the other; the second, small, over the first; both blended. Each is mirrored, turned and recoloured at
    random before, and the whole is tinted at times.
    """
    kind = random.integers(5)
    if kind < 2:
        side = int(random.integers(140, 290))
        whole = _over(_blank(), _varied(pictures[0], side, random), _place(side, random), _place(side, random))
    elif kind == 2:
        side = int(random.integers(100, 130))
        across, beside = _place(side, random), random.random() < 0.5
        whole = _blank()
        for picture, along in zip(pictures, (0, SIDE // 2), strict=True):
            whole = _over(whole, _varied(picture, side, random), *((along, across) if beside else (across, along)))
    elif kind == 3:
        whole = _over(_blank(), _varied(pictures[0], int(random.integers(180, 240)), random), 0, 0)
        side = int(random.integers(70, 130))
        whole = _over(whole, _varied(pictures[1], side, random), _place(side, random), _place(side, random))
    else:
        first, second = (_varied(picture, SIDE, random) for picture in pictures)
        whole = Image.blend(first, second, float(random.uniform(0.25, 0.75)))
    if random.random() < 0.3:
        tint = random.integers(60, 256, 3) / 255
        whole = Image.fromarray((np.asarray(whole) * tint).astype(np.uint8))
    return whole


def _varied(picture: Image.Image, side: int, random: np.random.Generator) -> Image.Image:
    """Mirror, swap the colour channels, turn by up to 25 degrees and resize."""
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < 0.35:
        picture = Image.fromarray(np.ascontiguousarray(np.asarray(picture)[..., random.permutation(3)]))
    picture = picture.rotate(float(random.uniform(-25, 25)), Image.Resampling.BILINEAR, fillcolor=_WHITE)
    return picture.resize((side, side), Image.Resampling.BILINEAR)


def _blank() -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), _WHITE)


def _place(side: int, random: np.random.Generator) -> int:
    """Return an offset at which a picture of that side covers the whole or lies inside it."""
    room = SIDE - side
    return int(random.integers(min(0, room), max(0, room) + 1))


def _over(whole: Image.Image, picture: Image.Image, left: int, top: int) -> Image.Image:
    """Lay a picture over another so that white is transparent: the darker value counts."""
    sheet = _blank()
    sheet.paste(picture, (left, top))
    return Image.fromarray(np.minimum(np.asarray(whole), np.asarray(sheet)))
