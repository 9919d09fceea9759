"""A bundle as an app uses it: texts and pixels in, unit vectors out. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.bundle.integrity import check_members
from conaclip_edge.errors import UserError
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.runtime.open_tower import RUNTIMES, open_tower, suffixes_of
from conaclip_edge.runtime.tower import Executed, Tower
from conaclip_edge.system.files import read_json


@dataclass(frozen=True)
class Bundle:
    """The two towers of one target with their tokenizer.

    Attributes:
        manifest: content of manifest.json.
        image_size: side of the pixels that the image tower takes.
    """

    manifest: dict[str, Any]
    image: Tower
    text: Tower
    tokenizer: TextTokenizer
    image_size: int

    @property
    def executed(self) -> Executed:
        """ "native" if the platform's runtime runs the files, "reference" if our interpreter does."""
        return self.image.executed

    def encode_pixels(self, pixel_values: np.ndarray) -> np.ndarray:
        """Map float32 pixels [n, 3, H, W] in [0, 1] to unit vectors [n, d]."""
        return self.image(pixel_values)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Tokenise texts and map them to unit vectors [n, d], each at its own length."""
        return np.concatenate([self.text(self.ids(text)[None]) for text in texts])

    def ids(self, text: str) -> np.ndarray:
        """Tokenise one text to int32 ids [L], padded behind EOS to a length that the file accepts."""
        ids = self.tokenizer.ids(text)
        if self.text.lengths is not None:
            room = next(length for length in self.text.lengths if length >= len(ids))
            ids += [self.tokenizer.pad_id] * (room - len(ids))
        return np.asarray(ids, dtype=np.int32)


def open_bundle(folder: Path, target: str, precision: str = "int8", threads: int = 1) -> Bundle:
    """Load one target of a bundle.

    Args:
        folder: with manifest.json.
        target: onnx, executorch or coreml.
        precision: of its files.
        threads: CPU threads of the runtime.

    Raises:
        UserError: it lacks the target, or a file of it is not what the manifest says.
    """
    suffix = suffixes_of(target)[0]
    manifest = read_json(folder / "manifest.json", "bundle manifest")
    files = {tower: folder / target / f"{tower}.{precision}{suffix}" for tower in ("image", "text")}
    if not all(file.exists() for file in files.values()):
        known = {runtime.target for runtime in RUNTIMES.values()}
        there = sorted(path.name for path in folder.iterdir() if path.name in known)
        raise UserError(
            f"bundle {folder} has no {precision} files for {target}; it has {', '.join(there) or 'no target'}. "
            f"Add them: conaclip-edge export --target {target} --precision {precision}"
        )
    try:
        image_size, context = int(manifest["image_size"]), int(manifest["context"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"manifest of bundle {folder} lacks image_size or context. Run: conaclip-edge verify") from None
    check_members(folder, manifest, [*files.values(), folder / "tokenizer.json"])
    return Bundle(
        manifest,
        open_tower(files["image"], threads),
        open_tower(files["text"], threads),
        TextTokenizer(folder / "tokenizer.json", context),
        image_size,
    )
