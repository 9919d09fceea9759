"""Golden vectors: texts and pictures with what the student makes of them, for an app to check itself against.

`golden.json` holds the texts with their exact ids, the names of the picture files and the tolerances;
`golden.safetensors` holds, row by row in the same order, `text.embedding`, `picture.pixels` (uint8, value * 255) and
`picture.embedding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from conaclip_edge.bundle.golden_pictures import made_pictures
from conaclip_edge.bundle.members import unsafe
from conaclip_edge.config.base import Config
from conaclip_edge.config.parse import parse
from conaclip_edge.data.preprocess import Preprocess, decode, to_pixels
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import read_json, write_json

if TYPE_CHECKING:
    from conaclip_edge.models.student.checkpoint import Student

SCHEMA = "conaclip-edge/golden/1"
FOLDER = "golden"
PIXEL_LEVELS = 1  # decoders of JPEG may differ by one of 255 levels
# Least cosine of one vector, on any device. int8 is looser than the gate's mean: golden inputs are strange on purpose,
# and int8 kernels differ between processors.
MIN_COSINE = {"fp32": 0.99999, "fp16": 0.9999, "int8": 0.98}
GRID_MARGIN = 0.02  # what kernels may add to what rounding to grids changes

TEXTS = (
    "a photo of a cat",
    "Two dogs playing on the beach!",
    "A WOMAN RIDING A BICYCLE DOWN A BUSY STREET",
    "",
    " ",
    "  two   spaces,\ta tab\nand a line break  ",
    "x",
    "?!... -- (what?) [really] {yes} \"no\" 'maybe' #1 @home 50% & more; 3.14 + 2 = 5.14",
    "https://example.org/a_b-c?d=e&f=1",
    "don't stop, it's the children's playground",
    "caf\u00e9 cr\u00e8me",
    "cafe\u0301 cre\u0300me",
    "\ufb01ne \uff26\uff35\uff2c\uff2c width \u2460",
    "\u0130stanbul STRA\u00dfE",
    "Ein H\u00e4uschen \u00fcber den B\u00e4umen",
    "un ni\u00f1o con un bal\u00f3n rojo",
    "\u0441\u043e\u0431\u0430\u043a\u0430 \u043d\u0430 \u043f\u043b\u044f\u0436\u0435",
    "\u732b\u5728\u684c\u5b50\u4e0a",
    "\u6d77\u8fba\u3067\u904a\u3076\u72ac",
    "\uace0\uc591\uc774\uac00 \uc790\uace0 \uc788\ub2e4",
    "\u0642\u0637\u0629 \u0639\u0644\u0649 \u0627\u0644\u0637\u0627\u0648\u0644\u0629",
    "\u092e\u0947\u091c\u093c \u092a\u0930 \u092c\u093f\u0932\u094d\u0932\u0940",
    "\U0001f389 party \U0001f389\U0001f389",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family, \U0001f44d\U0001f3fd and \U0001f1e7\U0001f1f7",
    "zero\u200bwidth and no\u00a0break",
    "control \u0001 and \ufffd replacement",
    "a very long caption that goes on and on about a cat, a dog, a bird and a fish " * 12,
    "word" * 200,
    "the end <|endoftext|> after it",
    "[CLS] a cat [SEP] a dog [SEP]",
    "</s> <s> <pad> [PAD] [MASK]",
    "<|startoftext|><|endoftext|><|endoftext|>",
)


@dataclass(frozen=True)
class Golden:
    """Inputs and what the float32 model makes of them.

    Attributes:
        texts: as a person types them.
        ids: int32 ids of each text, 2..context of them.
        text_embeddings: float32 unit vectors [texts, d].
        names: file names of the pictures.
        pictures: their encoded bytes.
        pixels: uint8 [pictures, 3, size, size].
        picture_embeddings: float32 unit vectors [pictures, d].
        min_cosine: precision -> least cosine of an exported text tower's embedding to the one here.
        picture_min_cosine: the same of an image tower.
    """

    texts: tuple[str, ...]
    ids: tuple[np.ndarray, ...]
    text_embeddings: np.ndarray
    names: tuple[str, ...]
    pictures: tuple[bytes, ...]
    pixels: np.ndarray
    picture_embeddings: np.ndarray
    min_cosine: dict[str, float]
    picture_min_cosine: dict[str, float]

    def embeddings(self, tower: str) -> np.ndarray:
        """Return what the tower named "image" or "text" has to give."""
        return self.picture_embeddings if tower == "image" else self.text_embeddings

    def least_cosine(self, tower: str, precision: str) -> float:
        """Return how near to `embeddings` each one of a file has to be."""
        return (self.picture_min_cosine if tower == "image" else self.min_cosine)[precision]


class _Text(Config):
    text: str
    ids: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(min_length=2)


class _Document(Config):
    format: str = Field(alias="schema")
    pixel_tolerance: float
    min_cosine: dict[str, float]
    picture_min_cosine: dict[str, float] = Field(default_factory=dict)
    texts: tuple[_Text, ...]
    pictures: tuple[str, ...]

    @property
    def of_pictures(self) -> dict[str, float]:
        """The bars of pictures; those of texts in a bundle that was written before the two were said apart."""
        return self.picture_min_cosine or self.min_cosine


def make_golden(student: Student, held_out: Sequence[tuple[str, bytes]], max_pixels: int) -> Golden:
    """Run the student over the golden texts, the made pictures and some real ones.

    One whose image tower was trained to compute in int8 does so, and the bars of pictures leave room for files that
    compute with its weights in float.

    Args:
        student: the checkpoint.
        held_out: names and bytes of real pictures that the student was not trained on.
        max_pixels: largest picture that is decoded.
    """
    import torch

    from conaclip_edge.models.student.int8_student import int8_student

    named = [*made_pictures(), *held_out]
    preprocess = Preprocess.of(student.model.config.image)
    pixels = np.stack([to_pixels(decode(data, max_pixels), preprocess) for _, data in named])
    ids = tuple(np.asarray(student.tokenizer.ids(text), dtype=np.int32) for text in TEXTS)
    with torch.inference_mode():
        values = torch.from_numpy(pixels.astype(np.float32) / 255)
        picture_embeddings = in_float = student.model.encode_image(values).numpy()
        if student.quantization:
            picture_embeddings = int8_student(student.model, student.quantization.image).encode_image(values).numpy()
        text_embeddings = torch.cat([student.model.encode_text(torch.from_numpy(row)[None]) for row in ids]).numpy()
    names, pictures = zip(*named, strict=True)
    # as far as the float weights are from what was trained, files that compute with them have to be as well
    least = float((in_float * picture_embeddings).sum(axis=1).min()) - GRID_MARGIN
    lowered = {name: min(bar, least) for name, bar in MIN_COSINE.items()} if student.quantization else MIN_COSINE
    return Golden(
        TEXTS, ids, text_embeddings, names, pictures, pixels, picture_embeddings, dict(MIN_COSINE), dict(lowered)
    )


def write_golden(golden: Golden, folder: Path) -> None:
    """Write golden.json, golden.safetensors and pictures/ into a new folder."""
    (folder / "pictures").mkdir(parents=True)
    for name, data in zip(golden.names, golden.pictures, strict=True):
        (folder / "pictures" / name).write_bytes(data)
    tensors = {
        "text.embedding": golden.text_embeddings,
        "picture.pixels": golden.pixels,
        "picture.embedding": golden.picture_embeddings,
    }
    save_file(tensors, folder / "golden.safetensors")
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "pixel_tolerance": PIXEL_LEVELS / 255,
        "min_cosine": golden.min_cosine,
        "picture_min_cosine": golden.picture_min_cosine,
        "texts": [{"text": text, "ids": ids.tolist()} for text, ids in zip(golden.texts, golden.ids, strict=True)],
        "pictures": [f"pictures/{name}" for name in golden.names],
    }
    write_json(folder / "golden.json", content)


def read_golden(folder: Path) -> Golden:
    """Read the golden vectors of a bundle.

    Raises:
        UserError: a file is missing, or JSON and tensors do not fit together.
    """
    where = folder / "golden.json"
    document = parse(_Document, read_json(where, "golden vectors"), str(where))
    for key, bars in (("min_cosine", document.min_cosine), ("picture_min_cosine", document.of_pictures)):
        if missing := MIN_COSINE.keys() - bars.keys():
            raise UserError(f"{where}: '{key}' lacks {min(missing)}. Export the bundle again.")
    outside = [name for name in document.pictures if unsafe(name)]
    if outside:
        raise UserError(f"{where}: picture '{outside[0]}' {unsafe(outside[0])}; it was not opened.")
    try:
        tensors = load_file(folder / "golden.safetensors")
        pictures = tuple((folder / name).read_bytes() for name in document.pictures)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read the golden vectors in {folder}: {error}.") from error
    counts = {
        "text.embedding": len(document.texts),
        "picture.embedding": len(pictures),
        "picture.pixels": len(pictures),
    }
    lengths = {name: len(value) for name, value in tensors.items()}
    if document.format != SCHEMA or lengths != counts:
        raise UserError(f"{where} does not fit golden.safetensors: it needs rows {counts}, there are {lengths}.")
    return Golden(
        tuple(entry.text for entry in document.texts),
        tuple(np.asarray(entry.ids, dtype=np.int32) for entry in document.texts),
        tensors["text.embedding"],
        tuple(Path(name).name for name in document.pictures),
        pictures,
        tensors["picture.pixels"],
        tensors["picture.embedding"],
        document.min_cosine,
        document.of_pictures,
    )
