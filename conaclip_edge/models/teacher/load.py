"""Opening a teacher from its folder or name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conaclip_edge.models.model_folder import check_teacher
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.joined import TEACHER_TYPE, JoinedTeacher
from conaclip_edge.models.transformers_folder import is_open_clip


def load_teacher(source: str) -> Teacher:
    """Load a teacher.

    Args:
        source: folder (joined by `train-teacher`, a dual encoder of transformers, or of OpenCLIP), or a hub name.

    Raises:
        UserError: it is no teacher, or damaged.
    """
    config = check_teacher(source)
    if config and config.get("model_type") == TEACHER_TYPE:
        return JoinedTeacher.load(Path(source))
    from conaclip_edge.models.teacher.hub import fetch
    from conaclip_edge.models.teacher.huggingface import TransformersTeacher
    from conaclip_edge.models.teacher.parts import read_parts

    folder = fetch(source) if config is None else Path(source)
    if is_open_clip([path.name for path in folder.iterdir()]):
        return _open_clip(folder, source)
    return TransformersTeacher(source, read_parts(source, folder))


def load_teachers(sources: Sequence[str]) -> Teacher:
    """Load one teacher, or several as an ensemble; arguments and errors as of `load_teacher`."""
    if len(sources) == 1:
        return load_teacher(sources[0])
    from conaclip_edge.models.teacher.ensemble import EnsembleTeacher

    return EnsembleTeacher([load_teacher(source) for source in sources])


def _open_clip(folder: Path, source: str) -> Teacher:
    """Load a checkpoint of OpenCLIP: a plain ViT by transformers alone, any other by OpenCLIP."""
    from conaclip_edge.models.teacher.huggingface import TransformersTeacher
    from conaclip_edge.models.teacher.openclip.layout import read_checkpoint
    from conaclip_edge.models.teacher.openclip.library import OpenClipTeacher
    from conaclip_edge.models.teacher.openclip.plain_vit import plain_vit_parts

    checkpoint = read_checkpoint(folder, source)
    if checkpoint.not_plain():
        return OpenClipTeacher(checkpoint, source)
    return TransformersTeacher(source, plain_vit_parts(checkpoint, source))
