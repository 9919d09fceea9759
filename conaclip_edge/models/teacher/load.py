"""Opening a teacher from its folder or name."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.joined import TEACHER_TYPE, JoinedTeacher
from conaclip_edge.models.transformers_folder import is_easynlp
from conaclip_edge.system.files import read_json


def load_teacher(source: str) -> Teacher:
    """Load a teacher from a folder (joined by `train-teacher`, or any transformers dual encoder) or a hub name."""
    folder = Path(source)
    if (folder / "config.json").is_file():
        config = read_json(folder / "config.json", "teacher config")
        if isinstance(config, dict) and config.get("model_type") == TEACHER_TYPE:
            return JoinedTeacher.load(folder)
        if isinstance(config, dict) and is_easynlp(config):
            raise UserError(
                f"teacher {source} is a checkpoint of EasyNLP. Convert it once: conaclip-edge convert {source} "
                "--out teacher"
            )
    elif folder.exists() or source.startswith((".", "/")) or source.count("/") != 1:
        raise UserError(
            f"no teacher at {source}: a folder with config.json and model.safetensors is needed, or a hub name such as "
            "laion/CLIP-ViT-B-32-laion2B-s34B-b79K. The demo's: "
            f"conaclip-edge train-teacher --out {source}"
        )
    from conaclip_edge.models.teacher.huggingface import TransformersTeacher

    return TransformersTeacher(source)
