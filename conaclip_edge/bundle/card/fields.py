"""Every field of a bundle's JSON files in a sentence: the tables of the model card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

PREPROCESS = {
    "schema": "version of this file's form; an unknown one means other steps",
    "size": "side of the square picture that the image tower takes, in pixels",
    "color": "what is done to a decoded picture first: turned upright, colours to sRGB, laid over white",
    "jpeg.may_reduce_by": "a large JPEG may be decoded at one of these fractions of its sides, to save time: optional",
    "jpeg.from_pixels": "that is done only if it has at least so many pixels (width x height)",
    "jpeg.keep_shorter_side": "and only if the shorter side keeps at least so many",
    "resize.shorter_side": "the picture is scaled so that its shorter side has so many pixels; the other is rounded",
    "resize.width": "the picture is scaled to this width, whatever its shape was",
    "resize.height": "and to this height",
    "resize.filter": "of the resize",
    "resize.a": "the bicubic filter's parameter; OpenCV and torch without antialiasing use -0.75",
    "resize.antialias": "the filter is made as much wider as the picture gets smaller: this changes most",
    "crop": "center: the middle `size` x `size` is cut out, an odd pixel stays right or below; null: nothing is",
    "scale": "each value 0..255 is multiplied by it",
    "layout": "of `pixel_values`: N pictures, C channels (red, green, blue), H rows, W columns",
    "normalisation": "mean and standard deviation are applied by the file itself: do not subtract them again",
}
MANIFEST = {
    "schema": "version of this file's form",
    "name": "of the student",
    "embedding_space": "embeddings compare only where this id is the same",
    "embed_dim": "numbers of an embedding",
    "image_size": "side of the picture input in pixels",
    "context": "largest number of ids of a text",
    "vocab_size": "ids are below it",
    "eos_id": "ends every text",
    "pad_id": "may follow it",
    "fixed_length": "true: every text is padded to `context` ids; not there: texts have any length up to it",
    "licence": "of the data, in their own words; empty if they state none",
    "training": "recipe, teacher, data and figures of the training",
    "versions": "of what made the golden vectors",
    "files": "the exported files; see below",
    "members": "every file of the bundle but this one, with sha256 and size",
    "digest": "sha256 of this document without the digest",
}
FILE = {
    "path": "relative to the bundle; Core ML's and Core AI's are folders",
    "target": "onnx, executorch, coreml or coreai",
    "precision": "int8, fp16 or fp32",
    "tower": "image or text",
    "backend": "what runs it on the device",
    "size": "bytes",
    "float_size": "bytes of the tower's float32 weights",
    "settings": "of the export",
    "notes": "what the exporter says: versions, operations, and `lengths` where a text has to have one of some lengths",
    "calibration": "the train pairs that int8 ranges were taken from; null where none were",
    "gate": "what the file gave on held-out pairs: recall, cosine to the float32 model, and on which host",
    "form": "accelerator: for the accelerators of phones; not there: for the CPU",
}
GOLDEN = {
    "schema": "version of this file's form",
    "pixel_tolerance": "largest difference that a pixel value in 0..1 may have",
    "min_cosine": "by precision: least cosine of a text's embedding to the golden one, on any device",
    "picture_min_cosine": "the same of a picture's",
    "texts": "each text with its exact ids",
    "pictures": "files; their order is that of the tensors",
}


def flat(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each field of a JSON document with its value, those of an object as `object.field`."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", one) for inner, one in flat(value))
        else:
            yield key, value


def preprocess_table(preprocess: Mapping[str, Any]) -> str:
    """Tabulate the fields of this bundle's preprocess.json with their values."""
    rows = [f"| `{key}` | {_text(value)} | {PREPROCESS.get(key, '')} |" for key, value in flat(preprocess)]
    return "\n".join(["| field | here | what it says |", "|---|---|---|", *rows])


def table(fields: Mapping[str, str]) -> str:
    """Tabulate fields and what they say."""
    return "\n".join(["| field | what it says |", "|---|---|", *_rows(fields.items())])


def _rows(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [f"| `{key}` | {text} |" for key, text in pairs]


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
