"""Opening a teacher from its folder or name."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.models.model_folder import check_teacher
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.joined import TEACHER_TYPE, JoinedTeacher


def load_teacher(source: str) -> Teacher:
    """Load a teacher from a folder (joined by `train-teacher`, or any transformers dual encoder) or a hub name."""
    config = check_teacher(source)
    if config and config.get("model_type") == TEACHER_TYPE:
        return JoinedTeacher.load(Path(source))
    from conaclip_edge.models.teacher.huggingface import TransformersTeacher

    return TransformersTeacher(source)
