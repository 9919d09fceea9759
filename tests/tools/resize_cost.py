"""What a cheaper resize costs an app, as cosine to the embedding of the right one: the table of docs/results/apps.md.

    python tests/tools/resize_cost.py BUNDLE --picture-size 224

Every resize is emulated by Pillow, on the same held-out pictures of OpenMoji and with the bundle's own image file.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from conaclip_edge.bundle.open import Bundle, open_bundle
from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.preprocess import decode

Size = tuple[int, int]
Resize = Callable[[Image.Image, Size], Image.Image]
Filter = Image.Resampling


def sampled(filter_: Filter) -> Resize:
    """A filter that looks at the source's nearest pixels alone: no antialiasing."""

    def resize(picture: Image.Image, size: Size) -> Image.Image:
        step = (picture.width / size[0], 0, 0, 0, picture.height / size[1], 0)
        return picture.transform(size, Image.Transform.AFFINE, step, filter_)

    return resize


def halved(picture: Image.Image, size: Size) -> Image.Image:
    """Android's inSampleSize: the largest power of two that leaves enough pixels; then bilinear."""
    by = 2 ** max(0, int(math.log2(min(picture.width / size[0], picture.height / size[1]))))
    return sampled(Filter.BILINEAR)(picture.reduce(by), size)


RESIZES: dict[str, Resize] = {
    "bicubic, antialiased (right)": lambda picture, size: picture.resize(size, Filter.BICUBIC),
    "Lanczos, antialiased": lambda picture, size: picture.resize(size, Filter.LANCZOS),
    "bilinear, antialiased": lambda picture, size: picture.resize(size, Filter.BILINEAR),
    "box (mean of the area)": lambda picture, size: picture.resize(size, Filter.BOX),
    "halved, then bilinear": halved,
    "bilinear": sampled(Filter.BILINEAR),
    "bicubic": sampled(Filter.BICUBIC),
    "nearest": sampled(Filter.NEAREST),
}


def embed(bundle: Bundle, picture: Image.Image, resize: Resize) -> np.ndarray:
    """Embed a picture whose shorter side becomes the tower's and whose centre is cut out, by one of the resizes."""
    size = bundle.image_size
    scale = size / min(picture.size)
    wide, high = (max(size, round(side * scale)) for side in picture.size)
    left, top = (wide - size) // 2, (high - size) // 2
    small = resize(picture, (wide, high)).crop((left, top, left + size, top + size))
    pixels = np.asarray(small, np.float32).transpose(2, 0, 1)[None] / 255
    return bundle.embed_pixels(np.ascontiguousarray(pixels))[0]


def main() -> None:
    """Print one row a resize."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--picture-size", type=int, default=224)
    parser.add_argument("--split", default="test")
    parser.add_argument("--folder", type=Path, help="pictures of your own, in place of OpenMoji's")
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    if arguments.folder:
        files = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
        pictures = [decode(path.read_bytes()) for path in files]
    else:
        pairs = read_pairs(DataConfig(format="openmoji", picture_size=arguments.picture_size))
        pictures = [decode(pairs.read(int(row))) for row in pairs.rows(arguments.split)]
    found = {name: np.stack([embed(bundle, one, resize) for one in pictures]) for name, resize in RESIZES.items()}
    right = next(iter(found.values()))
    print(f"{len(pictures)} pictures to {bundle.image_size} pixels, {bundle.manifest['name']}")
    for name, embeddings in found.items():
        cosines = (embeddings * right).sum(axis=1)
        print(f"| {name} | {cosines.mean():.4f} | {np.percentile(cosines, 1):.4f} | {cosines.min():.4f} |")


if __name__ == "__main__":
    main()
