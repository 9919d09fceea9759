"""`presets`: the students that a recipe can name, with their size and what they are for."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.models.student.presets import PRESET_USES, PRESETS
from conaclip_edge.setup.count_operations import Counts, image_counts, text_counts
from conaclip_edge.setup.info.models import numbers
from conaclip_edge.system.result import Result

QUERY_IDS = 8  # of a short query, its begin and end included
INT8_BYTES = 1.05  # per parameter: the demo's 2.75 M parameters are 2.89 MB of ONNX int8
EMBEDDING_RULE = (
    "the embedding is as wide as the teacher's, whatever the preset; the figures here are for "
    f"{PRESETS['mobile'].embed_dim} numbers"
)


class Preset(Result):
    """A student preset.

    Attributes:
        name: as a recipe has it (student.preset).
        meant_for: in a line.
        image_kind: kind of its image tower.
        image_size: side of the picture in pixels.
        context: largest number of ids of a text.
        vocabulary: ids of the token table, before pruning.
        image_parameters: of the image tower.
        text_parameters: of the text tower, the token table included.
        token_table_parameters: of the token table, which pruning makes smaller.
        float32_bytes: of both towers.
        int8_bytes: of both towers, estimated.
        picture_multiply_adds: of one picture.
        query_multiply_adds: of one text of 8 ids.
    """

    name: str
    meant_for: str
    image_kind: str
    image_size: int
    context: int
    vocabulary: int
    image_parameters: int
    text_parameters: int
    token_table_parameters: int
    float32_bytes: int
    int8_bytes: int
    picture_multiply_adds: int
    query_multiply_adds: int


class PresetList(Result):
    """All presets.

    Attributes:
        presets: the smallest first.
        embedding: how wide their embedding is.
        warning: which presets are not smaller than the teacher that was named; "" where all are.
    """

    presets: tuple[Preset, ...]
    embedding: str
    warning: str = ""


def preset_list(teacher: Path | None = None) -> PresetList:
    """Return the student presets, counted from their shapes, the smallest first.

    Args:
        teacher: folder of a teacher; the list warns of presets that are not smaller than it.

    Raises:
        UserError: the folder has no weights.
    """
    found = sorted((_preset(name) for name in PRESETS), key=lambda preset: preset.float32_bytes)
    warning = _warning(found, teacher) if teacher else ""
    return PresetList(presets=tuple(found), embedding=EMBEDDING_RULE, warning=warning)


def _warning(presets: list[Preset], teacher: Path) -> str:
    of_teacher = numbers(teacher)
    if not of_teacher:
        raise UserError(f"no teacher at {teacher}: a folder with safetensors weights is needed.")
    large = [one.name for one in presets if one.image_parameters + one.text_parameters >= of_teacher]
    if not large:
        return ""
    way_out = "Take a smaller preset, or a larger teacher." if len(large) < len(presets) else "Take a larger teacher."
    return f"not smaller than the teacher ({of_teacher / 1e6:.1f} M parameters): {', '.join(large)}. {way_out}"


def _preset(name: str) -> Preset:
    shape = PRESETS[name]
    image = image_counts(shape.image, shape.embed_dim) or Counts(0, 0, 0)
    text = text_counts(shape.text, shape.embed_dim, QUERY_IDS)
    parameters = image.parameters + text.parameters
    return Preset(
        name=name,
        meant_for=PRESET_USES[name],
        image_kind=shape.image.kind,
        image_size=shape.image.size,
        context=shape.text.context,
        vocabulary=shape.text.vocab_size,
        image_parameters=image.parameters,
        text_parameters=text.parameters,
        token_table_parameters=shape.text.vocab_size * shape.text.width,
        float32_bytes=4 * parameters,
        int8_bytes=round(INT8_BYTES * parameters),
        picture_multiply_adds=image.multiply_adds,
        query_multiply_adds=text.multiply_adds,
    )


def presets_text(found: PresetList) -> str:
    """Write the presets as a table for a terminal."""
    head = f"{'preset':<16}{'image':>8}{'text':>8}{'float32':>10}{'int8':>9}{'picture':>12}{'query':>12}"
    unit = f"{'':<16}{'M param.':>8}{'M':>8}{'MB':>10}{'about MB':>9}{'M mult-adds':>12}{'M mult-adds':>12}"
    rows = [
        f"{one.name:<16}{one.image_parameters / 1e6:>8.1f}{one.text_parameters / 1e6:>8.1f}"
        f"{one.float32_bytes / 1e6:>10.0f}{one.int8_bytes / 1e6:>9.0f}"
        f"{one.picture_multiply_adds / 1e6:>12.0f}{one.query_multiply_adds / 1e6:>12.1f}"
        for one in found.presets
    ]
    uses = [f"{one.name}: {one.meant_for} ({one.image_size} pixels, {one.context} ids)." for one in found.presets]
    end = [
        f"Text towers have {found.presets[-1].vocabulary:,} ids here; student.vocab keeps those that the captions "
        "need, and the token table shrinks with them.",
        f"{found.embedding[0].upper()}{found.embedding[1:]}.",
        *([f"Warning: {found.warning}"] if found.warning else []),
        "Next: conaclip-edge init PICTURES --teacher MODEL",
    ]
    return "\n".join([head, unit, *rows, "", *uses, "", *end])
