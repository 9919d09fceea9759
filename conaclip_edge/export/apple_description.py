"""What Xcode shows of a tower, in a Core ML package as in a Core AI asset, and the lengths of its texts."""

from __future__ import annotations

from dataclasses import dataclass

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.towers.towers import Towers
from conaclip_edge.system.version import __version__

INPUTS = {"image": "pixel_values", "text": "input_ids"}
OUTPUT = "embedding"
AUTHOR = f"conaclip-edge {__version__}"
# the weights are under the terms of the data that they were trained on, which an exporter does not know
LICENCE = "See README.md and manifest.json of the bundle that this model is part of."


@dataclass(frozen=True)
class Description:
    """Sentences about a tower, its input and its output."""

    tower: str
    input: str
    output: str


def describe(tower: str, towers: Towers, config: ExportConfig, picture: bool = False) -> Description:
    """Describe the tower named "image" or "text".

    Args:
        tower: which.
        towers: both.
        config: the lengths of its texts.
        picture: it takes a picture of the system's type, no array.
    """
    if tower == "text":
        listed = ", ".join(str(length) for length in text_lengths(config, towers))
        lengths = f"from 2 to {towers.context}" if config.text_shape == "range" else f"one of {listed}"
        given = f"Token ids [1, L], L {lengths}. Fill a text up behind its end token (id {towers.eos_id})."
        if towers.fixed_length:
            given = f"Token ids [1, {towers.context}], padded as tokenizer.json does."
    elif picture:
        given = f"RGB picture of {towers.image_size} x {towers.image_size} pixels."
    else:
        size = towers.image_size
        given = f"RGB pixels [1, 3, {size}, {size}], values 0 to 1."
    return Description(
        f"{tower.capitalize()} tower of the text-image dual encoder '{towers.name}'.",
        given,
        f"Unit vector [1, {towers.embed_dim}]; the dot product of two is their cosine.",
    )


def text_lengths(config: ExportConfig, towers: Towers) -> list[int]:
    """Return the text lengths in rising order: those asked for that are under the context, and it; or it alone."""
    asked = () if towers.fixed_length else config.text_lengths
    return sorted({length for length in asked if 2 <= length < towers.context} | {towers.context})
