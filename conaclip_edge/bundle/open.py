"""A bundle as an app uses it: texts and pixels in, unit vectors out. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conaclip_edge.bundle.held_out_pairs import FILE, HeldOutPairs, read_pairs_of
from conaclip_edge.bundle.integrity import check_members
from conaclip_edge.data.preprocess import BadPicture, Preprocess, pixel_values, read_preprocess, to_pixels, upright_rgb
from conaclip_edge.errors import UserError, unknown
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.runtime.open_tower import RUNTIMES, open_tower, suffixes_of
from conaclip_edge.runtime.tower import Executed, Tower
from conaclip_edge.system.arguments import as_list, expected_errors, to_count, to_path, to_text
from conaclip_edge.system.files import read_json, require_file

PRECISIONS = ("int8", "fp16", "fp32")  # from the smallest files
_LARGEST = 65_536  # pixels, ids or numbers of an embedding


Picture = str | PathLike[str] | bytes | Image.Image
"""A picture's file, its encoded bytes (PNG, JPEG, ...), or what Pillow has opened."""


@dataclass(frozen=True)
class Bundle:
    """The two towers of one target with their tokenizer.

    Attributes:
        manifest: content of manifest.json.
        preprocess: what is done to a picture before the image tower sees it.
        held_out_pairs: embeddings of pairs that the student was not trained on; None where the bundle has none.
    """

    manifest: dict[str, Any]
    image: Tower
    text: Tower
    tokenizer: TextTokenizer
    preprocess: Preprocess
    held_out_pairs: HeldOutPairs | None = None

    @property
    def image_size(self) -> int:
        """Side of the pixels that the image tower takes."""
        return self.preprocess.size

    @property
    def executed(self) -> Executed:
        """What runs the files: "native", "executor" or "reference"."""
        return self.image.executed

    @property
    def dim(self) -> int:
        """Numbers of an embedding, d."""
        return int(self.manifest["embed_dim"])

    @expected_errors()
    def embed_images(self, pictures: Iterable[Picture]) -> np.ndarray:
        """Embed pictures, one at a time, as the bundle's preprocess.json says.

        Args:
            pictures: files, encoded bytes, or pictures opened by Pillow.

        Returns:
            Unit vectors float32 [n, d].

        Raises:
            UserError: a picture cannot be read or decoded.

        Example:
            >>> from conaclip_edge import open_bundle
            >>> bundle = open_bundle("bundle")
            >>> vectors = bundle.embed_images(["pictures/test-0.png", "pictures/test-1.png"])
            >>> vectors.shape, str(vectors.dtype)
            ((2, 16), 'float32')
        """
        rows = [self.image(self._pixels(picture)[None]) for picture in as_list(pictures, "pictures")]
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), np.float32)

    def embed_texts(self, texts: Iterable[str]) -> np.ndarray:
        """Embed texts, each at its own length.

        Args:
            texts: what does not fit the context is cut.

        Returns:
            Unit vectors float32 [n, d]; its product with those of pictures is their cosines.

        Example:
            >>> from conaclip_edge import open_bundle
            >>> bundle = open_bundle("bundle")
            >>> texts = bundle.embed_texts(["w4 w5", "w6"])
            >>> (bundle.embed_images(["pictures/test-0.png"]) @ texts.T).shape
            (1, 2)
        """
        rows = [self.text(self.ids(text)[None]) for text in as_list(texts, "texts")]
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), np.float32)

    def embed_pixels(self, pixel_values: np.ndarray) -> np.ndarray:
        """Map pixels to unit vectors float32 [n, d].

        Args:
            pixel_values: float32 [n, 3, H, W] in [0, 1]; H and W are `image_size`.

        Raises:
            UserError: another type or shape.
        """
        return self.image(_checked_pixels(pixel_values, self.image_size))

    def ids(self, text: str) -> np.ndarray:
        """Tokenise one text to int32 ids [L], padded behind EOS to a length that the file accepts."""
        if not isinstance(text, str):
            raise UserError(f"each text has to be a str, not {type(text).__name__}.")
        ids = self.tokenizer.ids(text)
        if self.text.lengths is not None:
            room = next(length for length in self.text.lengths if length >= len(ids))
            ids += [self.tokenizer.pad_id] * (room - len(ids))
        return np.asarray(ids, dtype=np.int32)

    def _pixels(self, picture: Picture) -> np.ndarray:
        if not isinstance(picture, str | PathLike | bytes | Image.Image):
            raise UserError(
                f"each picture has to be a path, encoded bytes or a picture of Pillow, not {type(picture).__name__}."
            )
        name = f"picture {fspath(picture)}" if isinstance(picture, str | PathLike) else "a picture"
        try:
            if isinstance(picture, Image.Image):
                return to_pixels(upright_rgb(picture), self.preprocess).astype(np.float32) / 255
            return pixel_values(picture if isinstance(picture, bytes) else _content(Path(picture)), self.preprocess)
        except (OSError, ValueError, ZeroDivisionError) as error:  # Pillow's: closed, or no pixel wide
            raise UserError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
        except BadPicture as error:
            raise UserError(f"{name} {error}.") from error


def _content(file: Path) -> bytes:
    require_file(file)
    return file.read_bytes()


def _checked_pixels(pixels: np.ndarray, size: int) -> np.ndarray:
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.float32 or pixels.shape[1:] != (3, size, size):
        given = f"{pixels.dtype} {list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise UserError(
            f"pixels have to be a numpy array float32 [n, 3, {size}, {size}] in 0..1, not {given}. "
            "`embed_images` makes them of pictures."
        )
    return pixels


@expected_errors()
def open_bundle(
    folder: str | PathLike[str], target: str = "onnx", precision: str | None = None, threads: int = 1
) -> Bundle:
    """Load one target of a bundle.

    Args:
        folder: with manifest.json.
        target: onnx, executorch, coreml or coreai.
        precision: of its files: int8, fp16 or fp32; None takes the smallest that is there.
        threads: CPU threads of the runtime.

    Returns:
        The bundle, whose `embed_images` and `embed_texts` embed into one space.

    Raises:
        UserError: it lacks the target, or a file of it is not what the manifest says.
        NotInstalled: the target's runtime comes with an extra that is not installed.

    Example:
        >>> from conaclip_edge import open_bundle
        >>> bundle = open_bundle("bundle")
        >>> bundle.executed, bundle.image_size, bundle.dim
        ('native', 32, 16)
    """
    folder, suffix = to_path(folder, "folder"), suffixes_of(to_text(target, "target"))[0]
    threads = to_count(threads, "threads", least=0)
    if precision is not None and precision not in PRECISIONS:
        raise unknown("precision", str(precision), PRECISIONS)
    manifest = read_json(folder / "manifest.json", "bundle manifest")
    if precision is None:
        found = (name for name in PRECISIONS if (folder / target / f"image.{name}{suffix}").exists())
        precision = next(found, "int8")
    files = {tower: folder / target / f"{tower}.{precision}{suffix}" for tower in ("image", "text")}
    if not all(file.exists() for file in files.values()):
        known = {runtime.target for runtime in RUNTIMES.values()}
        there = sorted(path.name for path in folder.iterdir() if path.name in known)
        raise UserError(
            f"bundle {folder} has no {precision} files for {target}; it has {', '.join(there) or 'no target'}. "
            f"Add them: conaclip-edge export --target {target} --precision {precision}"
        )
    image_size, context, dim = (_size(manifest, name, folder) for name in ("image_size", "context", "embed_dim"))
    beside = [folder / "tokenizer.json", folder / "preprocess.json"]
    pairs = [folder / FILE] if (folder / FILE).exists() else []
    check_members(folder, manifest, [*files.values(), *beside, *pairs])
    return Bundle(
        manifest,
        open_tower(files["image"], threads),
        open_tower(files["text"], threads),
        TextTokenizer(folder / "tokenizer.json", context),
        read_preprocess(folder / "preprocess.json", image_size),
        read_pairs_of(folder, dim),
    )


def _size(manifest: Any, name: str, folder: Path) -> int:
    """Return a size that the manifest names; a UserError if it is none."""
    value = manifest.get(name) if isinstance(manifest, dict) else None
    if not isinstance(value, int) or not 1 <= value <= _LARGEST:
        raise UserError(
            f"manifest of bundle {folder}: {name} has to be a number from 1 to {_LARGEST}, not {str(value)[:50]}. "
            f"It was changed or damaged: conaclip-edge verify {folder}"
        )
    return value
