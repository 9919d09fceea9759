"""The model card: README.md of a bundle, written from its manifest and preprocess.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conaclip_edge.bundle.card.accelerators import accelerator_files_text, accelerator_table, covered_files
from conaclip_edge.bundle.card.fields import FILE, GOLDEN, MANIFEST, preprocess_table, table
from conaclip_edge.bundle.card.licence import LICENCE
from conaclip_edge.bundle.card.origin import adopted_family, origin
from conaclip_edge.bundle.card.platforms import platform_sections
from conaclip_edge.bundle.gate_words import (
    measured_text,
    on_fewer,
    passed_below,
    relative_recall_text,
    together_text,
    tolerance_text,
    widest,
)
from conaclip_edge.bundle.manifest import ExportedFile, Manifest


def model_card(manifest: Manifest, preprocess: Mapping[str, Any]) -> str:
    """Write the model card of a bundle.

    Args:
        manifest: its members need not be known yet.
        preprocess: content of preprocess.json.
    """
    title, text = origin(manifest, LICENCE)
    parts = [
        f"# {manifest.name}: text-to-picture search on a phone",
        _summary(manifest),
        "## Files\n\n" + _files(manifest.files),
        *_accelerators(manifest),
        f"## {title}\n\n{text}",
        "## Intended use\n\n" + _USE,
        "## Limits\n\n" + _limits(manifest),
        "## Loading it\n\n" + _inputs(manifest, preprocess),
        *platform_sections(manifest, preprocess),
        "## Checking it\n\n" + _CHECK,
        "## What the JSON files say\n\n" + _fields(preprocess),
    ]
    return "\n\n".join(parts) + "\n"


def _accelerators(manifest: Manifest) -> list[str]:
    covered = covered_files(manifest.files)
    parts = ["## Accelerators", accelerator_table(covered), accelerator_files_text(manifest)]
    return ["\n\n".join(part for part in parts if part)] if covered else []


_USE = """\
Search of a user's own pictures by text (and of texts by a picture) on the device: pictures are embedded once and
kept, a query is embedded when it is typed, and the nearest embeddings by cosine are shown. Not meant for naming people,
for decisions about people, or for filtering that has to be right every time."""

_CHECK = """\
`conaclip-edge verify .` checks every hash and runs every file that the host can run on the golden vectors;
`--trusted KEY.pub` also asks for the signature of that key, where the bundle is signed. An app checks its own
tokenizing, picture scaling and inference the same way: `golden/golden.json` gives texts with their exact ids, picture
files and the least cosine of each precision; `golden/golden.safetensors` gives, in the same order, `text.embedding`,
`picture.pixels` (uint8, value x 255, within one level) and `picture.embedding`. The app kit has a function for it."""


def _summary(manifest: Manifest) -> str:
    length = f"{'padded to' if manifest.fixed_length else 'up to'} {manifest.context}"
    return f"""\
Two towers into one space: a picture and a text that fit together get embeddings with a high cosine. Exported and
measured by conaclip-edge.

- embedding: {manifest.embed_dim} float32 values, length 1
- embedding space: `{manifest.embedding_space}`. Embeddings compare only where this id is the same: an index made with
  another id has to be made again.
- pictures: {manifest.image_size} x {manifest.image_size} pixels; texts: {length} ids"""


def _files(files: tuple[ExportedFile, ...]) -> str:
    """Tabulate what each file gave when it was run by itself."""
    first = widest(files)
    student = " | ".join(_recall(first.recall_student[way]) for way in ("t2i", "i2t"))
    rows = "\n".join([f"| float32 model | | 1 | 1 | {student} | 100 % / 100 % | |", *map(_row, files)])
    pairs = together_text(files) or "not measured"
    figures = "text to picture R@1/5/10 | picture to text R@1/5/10 | relative recall"
    below = "".join(f"\n- {line}" for line in (*on_fewer(files), *passed_below(files)))
    return f"""\
| file | MB | of float32 | cosine mean / 1 % | {figures} | run |
|---|---|---|---|---|---|---|---|
{rows}

Measured by running each file on {first.pictures} held-out pictures and {first.captions} captions ({first.dataset},
split {first.split}), with the other tower in float32. Recall in percent; relative recall: the share of the float32
model's mean over the three, text to picture / picture to text. "native" is the platform's own runtime, "executor" the
platform's own code on another one, "reference" an interpreter of the same program: these show recall, not speed.
Relative recall with both files of a target together: {pairs}.

{measured_text(first)}

{tolerance_text(files)}{below and chr(10) + below}"""


def _row(file: ExportedFile) -> str:
    gate = file.gate
    alone = gate.alone
    recall = (
        " | ".join(_recall(alone.recall[way]) for way in ("t2i", "i2t")) if alone else "not measured | not measured"
    )
    relative_recall = relative_recall_text(alone)
    return (
        f"| `{file.path}` | {file.size / 1e6:.2f} | {file.size / file.float_size:.3f} "
        f"| {gate.cosine.mean:.5f} / {gate.cosine.p1:.5f} | {recall} | {relative_recall} | {gate.executed} |"
    )


def _recall(values: dict[str, float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values.values())


def _limits(manifest: Manifest) -> str:
    learned = "what it was trained on" if adopted_family(manifest) else "its teacher and data"
    text = f"""\
- It finds what its data showed: pictures and words unlike them are found worse, other languages worst.
- A text is cut after {manifest.context} ids. Counting, negation, reading text in pictures and who does what to whom are
  weak in models of this kind.
- It carries the biases of {learned}; nothing was done against them.
- int8 kernels differ between processors. The figures above are of the hosts named in `manifest.json`; measure on the
  device that you ship to."""
    elsewhere = {file.gate.executed for file in manifest.files} - {"native"}
    if elsewhere:
        named = " or ".join(f'"{each}"' for each in sorted(elsewhere))
        text += f"\n- Figures marked {named} were not made on the target's hardware."
    return text


def _inputs(manifest: Manifest, preprocess: Mapping[str, Any]) -> str:
    size, resize = manifest.image_size, preprocess["resize"]
    squash = preprocess["crop"] is None
    steps = "both sides scaled to the input's, whatever the picture's shape" if squash else "shorter side, centre crop"
    texts = f"""\
`input_ids` int32 [1, L]: from `tokenizer.json`, at most {manifest.context} ids of which the last is {manifest.eos_id}
(end of text). A longer text is cut and keeps that last id. Do not pad; where a length is asked for, fill up with
{manifest.pad_id} behind the end."""
    if manifest.fixed_length:
        texts = f"""\
`input_ids` int32 [1, {manifest.context}]: from `tokenizer.json`, which cuts a text to {manifest.context} ids and fills
it up with {manifest.pad_id}. A library that does neither leaves it to you. Never fewer: the tower was trained on padded
texts and reads the last position."""
    return f"""\
Everybody: `pixel_values` float32 [1, 3, {size}, {size}]: RGB from 0 to 1, channel by channel. EXIF orientation, colours
to sRGB, white behind transparency; {steps}; the resize is {resize["filter"]} with antialiasing; mean and
standard deviation are inside the model. `preprocess.json` has it as data.

{texts}

`embedding` float32 [1, {manifest.embed_dim}], length 1: the cosine of two is their dot product."""


def _fields(preprocess: Mapping[str, Any]) -> str:
    return "\n\n".join(
        [
            "`preprocess.json`:\n\n" + preprocess_table(preprocess),
            "`manifest.json`:\n\n" + table(MANIFEST),
            "Each of its `files`:\n\n" + table(FILE),
            "`golden/golden.json`:\n\n" + table(GOLDEN),
        ]
    )
