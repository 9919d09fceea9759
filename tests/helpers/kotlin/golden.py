"""Golden pictures as the Kotlin driver reads them, and the kit's golden check of a whole bundle.

python -m tests.helpers.kotlin.golden runs/demo/bundle
"""

from __future__ import annotations

import io
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from conaclip_edge.bundle.golden import FOLDER, read_golden
from tests.helpers.kotlin.kit import Kit


def write_argb(folder: Path, name: str, picture: Image.Image) -> None:
    """Write a picture as the driver reads it: its size, then a number for each pixel of the upright picture."""
    pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA")).astype(">u4")
    red, green, blue, alpha = np.moveaxis(pixels, 2, 0)
    argb = alpha << 24 | red << 16 | green << 8 | blue
    (folder / name).write_bytes(struct.pack(">ii", argb.shape[1], argb.shape[0]) + argb.astype(">u4").tobytes())


def golden_check(kit: Kit, bundle: Path, scratch: Path, length: float = 1) -> list[str]:
    """Run the kit's golden check, the pictures decoded by Pillow; returns its lines, none where all is right.

    Args:
        kit: compiled.
        bundle: whose tokenizer, preprocessing and golden vectors are checked.
        scratch: folder for the decoded pictures.
        length: of the embeddings that stand in for the towers'; they are the golden ones, so 1 is right.
    """
    golden = read_golden(bundle / FOLDER)
    for name, data in zip(golden.names, golden.pictures, strict=True):
        write_argb(scratch, name, Image.open(io.BytesIO(data)))
    return kit.run("golden", bundle, scratch, str(length))


if __name__ == "__main__":
    given = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "classes").mkdir()
        lines = golden_check(Kit(Path(home), Path(home) / "classes"), given, Path(home))
    counts = read_golden(given / FOLDER)
    print(*lines, f"{len(lines)} differences in {len(counts.texts)} texts and {len(counts.names)} pictures", sep="\n")
