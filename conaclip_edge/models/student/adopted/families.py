"""Models of others that are exported as they are: which families, and what is said of any other folder."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conaclip_edge.errors import UserError
from conaclip_edge.models.transformers_folder import is_easynlp

_HERE = "conaclip_edge.models.student.adopted"


@dataclass(frozen=True)
class Family:
    """A family of dual encoders whose towers can be exported.

    Attributes:
        name: what it is called in messages and on the model card.
        module: has `shape`, `student_name` and `with_tokenizer`; see `clip.py`.
        padded: its texts are lower-cased and padded to the context, as it was trained.
    """

    name: str
    module: str
    padded: bool = False


# model_type of config.json -> its family
FAMILIES: dict[str, Family] = {
    "clip": Family("CLIP", f"{_HERE}.clip"),
    "siglip": Family("SigLIP", f"{_HERE}.siglip", padded=True),
}
# dual encoders that can teach, but whose towers have no form for export
_TEACHERS = {
    "altclip": "an AltCLIP",
    "chinese_clip": "a Chinese-CLIP",
    "metaclip_2": "a MetaCLIP 2",
    "siglip2": "a SigLIP 2 for pictures of any shape (NaFlex)",
    "vision-text-dual-encoder": "a VisionTextDualEncoder",
    "conaclip-edge-teacher": "a teacher that train-teacher joined of two towers",
}
_HALVES = {f"{family}_{part}_model": part for family in ("clip", "siglip", "siglip2") for part in ("text", "vision")}


def family_of(folder: Path, content: dict[str, Any]) -> Family:
    """Return the family of a model by the content of its config.json.

    Raises:
        UserError: it cannot be exported; the message says what it is and what to do instead.
    """
    kind = content.get("model_type")
    if is_easynlp(content):
        raise UserError(
            f"{folder} is a checkpoint of EasyNLP. Convert it once: conaclip-edge convert {_quoted(folder)} "
            f"--out {_quoted(folder)}-converted"
        )
    if isinstance(kind, str) and kind in _TEACHERS:
        raise UserError(
            f"{folder} is {_TEACHERS[kind]}, whose towers have no form for export ({_known()} have). Distil a student "
            f"from it: conaclip-edge init PICTURES --teacher {_quoted(folder)}"
        )
    if isinstance(kind, str) and kind in _HALVES:
        raise UserError(
            f"{folder} is the {_HALVES[kind]} tower alone ('{kind}'). Search needs both: name the folder of the whole "
            "model."
        )
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise UserError(f"{folder} is a '{kind}' model; a checkpoint of distill or a {_known(' or ')} is needed.")
    if content.get("quantization_config"):
        raise UserError(
            f"the weights of {folder} are quantised already (quantization_config in config.json), and export quantises "
            "float weights itself. Take the model as it was published: float32, float16 or bfloat16."
        )
    return FAMILIES[kind]


def _known(between: str = ", ") -> str:
    return between.join(dict.fromkeys(family.name for family in FAMILIES.values()))


def _quoted(folder: Path) -> str:
    return shlex.quote(str(folder))
