"""A student that starts as a part of its teacher: `student.init_image: inherit`, `student.init_text: inherit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from conaclip_edge.config.model import ImageTowerConfig, TextTowerConfig
from conaclip_edge.errors import UserError
from conaclip_edge.models.image_towers.positions import resized_positions
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.inherit import Sizes, check_sizes, choose, inherit
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.huggingface import TransformersTeacher

INHERIT = "inherit"
SAMPLES = 64  # pictures, or texts, by which the parts are chosen


def inherit_image(student: DualEncoder, teacher: Teacher, pictures: Callable[[], list[Image]]) -> int:
    """Start a `vit` image tower from the parts of a CLIP's that matter most for some pictures.

    Args:
        student: its shape says how much is taken.
        teacher: a CLIP.
        pictures: gives some train pictures.

    Returns:
        The number of weights taken.

    Raises:
        UserError: the teacher is no CLIP, or the student's tower is not a part of its.
    """
    clip, config = _clip(teacher, "image"), student.config.image
    vision = clip.config.vision_config
    if config.kind != "vit":
        raise UserError(
            f"student.init_image: inherit needs an image tower of kind vit, and this one's is {config.kind}."
        )
    if config.patch != vision.patch_size:
        raise UserError(f"student.image.patch is {config.patch}, the teacher's {vision.patch_size}: set it to that.")
    sizes = _sizes(config)
    _check(config, vision, sizes, "student.image")
    chosen = choose(clip.vision_model, lambda: teacher.embed_pictures(pictures()), sizes)
    weights = dict(clip.state_dict())
    target: Any = student.image.get_submodule("vit")
    table = "vision_model.embeddings.position_embedding.weight"
    weights[table] = resized_positions(weights[table], len(target.state_dict()[table]))
    return inherit(target, weights, chosen, {})


def inherit_text(student: DualEncoder, teacher: Teacher, texts: list[str], kept: Tensor) -> int:
    """Start the text tower from the parts of a CLIP's that matter most for some texts.

    Args:
        student: its shape says how much is taken.
        teacher: a CLIP.
        texts: of the corpus; a few are enough.
        kept: rows of the teacher's token table that the student has.

    Returns:
        The number of weights taken.

    Raises:
        UserError: as of `inherit_image`.
    """
    clip, config = _clip(teacher, "text"), student.config.text
    sizes = _sizes(config)
    _check(config, clip.config.text_config, sizes, "student.text")
    if config.context > teacher.context:
        raise UserError(f"student.text.context is {config.context}, the teacher's {teacher.context}: set it to that.")
    few = texts[:: max(1, len(texts) // SAMPLES)][:SAMPLES] or ["a picture"]
    chosen = choose(clip.text_model, lambda: teacher.embed_texts(few), sizes)
    return inherit(
        student.text.clip, dict(clip.state_dict()), chosen, {"token": kept, "position": torch.arange(config.context)}
    )


def _clip(teacher: Teacher, tower: str) -> Any:
    if not isinstance(teacher, TransformersTeacher) or teacher.kind != "clip":
        raise UserError(
            f"student.init_{tower}: inherit takes the weights of a CLIP, and the teacher is a {teacher.kind}."
        )
    return teacher.model


def _sizes(config: ImageTowerConfig | TextTowerConfig) -> Sizes:
    return Sizes(config.layers, config.width, config.heads, config.mlp)


def _check(config: ImageTowerConfig | TextTowerConfig, teacher: Any, sizes: Sizes, key: str) -> None:
    if config.activation != teacher.hidden_act:
        raise UserError(f"{key}.activation is {config.activation}, the teacher's {teacher.hidden_act}: set it to that.")
    of_teacher = Sizes(
        teacher.num_hidden_layers, teacher.hidden_size, teacher.num_attention_heads, teacher.intermediate_size
    )
    check_sizes(of_teacher, sizes, key)
