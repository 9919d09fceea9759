"""Student presets: shapes in the paper's line, a mobile one, and the demo's."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.config.model import ImageTowerConfig, ModelConfig, StudentConfig, TextTowerConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.errors import UserError, unknown
from conaclip_edge.models.image_towers.kinds import check_kind
from conaclip_edge.models.image_towers.lite0 import LITE0_STAGES
from conaclip_edge.models.image_towers.vision_folder import with_backbone

_HALF = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}
_VIT_S16 = ImageTowerConfig(kind="vit", size=224, width=384, layers=12, heads=6, mlp=1536, patch=16)
_LITE0 = ImageTowerConfig(kind="mobile", size=224, width=32, stages=LITE0_STAGES, head_width=1280, **_HALF)


def _clip_text(layers: int) -> TextTowerConfig:
    return TextTowerConfig(width=512, layers=layers, heads=8, mlp=2048, context=77)


# the first blocks of each stage: few layers, each with much to do, are what int8 kernels are fast at
_INT8_STAGES = ((1, 16, 1, 3, 1), (6, 24, 1, 3, 2), (6, 40, 1, 5, 2), (6, 80, 2, 3, 2), (6, 112, 2, 5, 1))
_INT8_S = ImageTowerConfig(kind="mobile", size=96, width=32, stages=_INT8_STAGES, **_HALF)
_INT8_M = _INT8_S.model_copy(update={"stages": (*_INT8_STAGES, (6, 192, 2, 5, 2))})
_DEMO_TEXT = TextTowerConfig(width=128, layers=2, heads=4, mlp=512, context=32, activation="gelu")


PRESETS: dict[str, ModelConfig] = {
    "vit-s16-text2l": ModelConfig(image=_VIT_S16, text=_clip_text(2)),
    "vit-s16-text4l": ModelConfig(image=_VIT_S16, text=_clip_text(4)),
    "vit-s16-text6l": ModelConfig(image=_VIT_S16, text=_clip_text(6)),
    "mobile": ModelConfig(image=_LITE0, text=_clip_text(4)),
    "demo": ModelConfig(
        image=ImageTowerConfig(kind="mobile", size=96, width=32, stages=LITE0_STAGES[:5], **_HALF),
        text=_DEMO_TEXT,
    ),
    "mobile-int8-s": ModelConfig(image=_INT8_S, text=_DEMO_TEXT),
    "mobile-int8-m": ModelConfig(image=_INT8_M, text=_DEMO_TEXT),
}

PRESET_USES: dict[str, str] = {
    "mobile": "phones: convolutions that run in int8 throughout, and ImageNet weights to start from; begin with it",
    "demo": "the smallest phones, few pictures, a quick first try: the first stages of mobile at 96 pixels",
    "mobile-int8-s": "the fewest instructions per picture in int8 (train.qat): 21 of mobile's layers and weights",
    "mobile-int8-m": "fewer instructions than demo in int8 (train.qat), one stage more: 27 of mobile's layers",
    "vit-s16-text2l": "the paper's small image transformer with the smallest text tower: short captions, fast queries",
    "vit-s16-text4l": "the same with a text tower for whole sentences; most recall wants many pictures and a GPU",
    "vit-s16-text6l": "the same with the deepest text tower: long captions, where a slower query is no matter",
}


def student_shape(student: StudentConfig) -> ModelConfig:
    """Return the shape of a preset with the recipe's changes; vocabulary and embedding width come later."""
    if student.preset not in PRESETS:
        raise unknown("student preset", student.preset, PRESETS)
    preset = PRESETS[student.preset]
    if folder := student.image.get("backbone"):
        image = with_backbone(student.image, Path(str(folder)))
    else:
        image = parse(ImageTowerConfig, preset.image.model_dump() | student.image, "student.image")
    check_kind(image.kind)
    text = parse(TextTowerConfig, preset.text.model_dump() | student.text, "student.text")
    if text.kind != "clip":
        raise UserError(
            f"student.text.kind is '{text.kind}': a student learns with CLIP's text tower. Leave it out. A SigLIP is "
            "exported as it is: conaclip-edge export SIGLIP_FOLDER"
        )
    return ModelConfig(image=image, text=text, embed_dim=student.embed_dim or preset.embed_dim)


def larger_than_teacher(name: str, parameters: int, of_teacher: int) -> str:
    """Return a warning where a student is as large as its teacher or larger; "" where it is smaller.

    Args:
        name: of the preset.
        parameters: of the student.
        of_teacher: of the teacher.
    """
    if parameters < of_teacher:
        return ""
    smaller = "" if name == "demo" else " Take a smaller preset (student.preset=demo), or a larger teacher."
    return (
        f"the student ({name}, {parameters / 1e6:.1f} M parameters) is not smaller than its teacher "
        f"({of_teacher / 1e6:.1f} M): distilling makes nothing smaller here.{smaller}"
    )
