"""Teachers, checkpoints and bundles as encoders of pictures and texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL.Image import Image

from conaclip_edge.data.preprocess import to_pixels
from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.joined import TEACHER_TYPE
from conaclip_edge.system.files import read_json


@dataclass(frozen=True)
class Encoder:
    """Two functions into one space, and what they are of.

    Attributes:
        name: for reports.
        pictures: upright RGB pictures -> unit vectors [n, d].
        texts: texts -> unit vectors [n, d].
        executed: "native" or "reference" for exported files, "torch" for checkpoints and teachers.
    """

    name: str
    pictures: Callable[[list[Image]], np.ndarray]
    texts: Callable[[list[str]], np.ndarray]
    executed: str = "torch"


def open_encoder(model: Path, target: str = "onnx") -> Encoder:
    """Open a folder as an encoder, by what lies in it."""
    if (model / "manifest.json").is_file():
        return bundle_encoder(model, target)
    if not (model / "config.json").is_file():
        raise UserError(f"no model at {model}: a folder of a teacher, a checkpoint or a bundle is needed.")
    config = read_json(model / "config.json", "model config")
    if "conaclip_edge" in config:
        return student_encoder(model)
    from conaclip_edge.models.teacher.load import load_teacher

    kind = "joined teacher" if config.get("model_type") == TEACHER_TYPE else str(config.get("model_type"))
    return teacher_encoder(load_teacher(str(model)), kind)


def teacher_encoder(teacher: Teacher, kind: str) -> Encoder:
    """Make an encoder of a loaded teacher."""
    return Encoder(
        f"{teacher.name} ({kind})",
        lambda pictures: teacher.embed_pictures(pictures).numpy(),
        lambda texts: teacher.embed_texts(texts).numpy(),
    )


def student_encoder(folder: Path) -> Encoder:
    """Open a checkpoint in float32."""
    import torch

    from conaclip_edge.models.student.checkpoint import load_student

    student = load_student(folder)
    size = student.model.config.image.size

    def pictures(batch: list[Image]) -> np.ndarray:
        pixels = torch.from_numpy(np.stack([to_pixels(picture, size) for picture in batch])).float() / 255
        with torch.inference_mode():
            return np.asarray(student.model.encode_image(pixels).numpy())

    def texts(batch: list[str]) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(student.model.encode_text(torch.from_numpy(student.tokenizer(batch))).numpy())

    return Encoder(f"student {folder.name}", pictures, texts)


def bundle_encoder(folder: Path, target: str) -> Encoder:
    """Open the exported files of one target of a bundle."""
    from conaclip_edge.bundle.open import open_bundle

    bundle = open_bundle(folder, target)

    def pictures(batch: list[Image]) -> np.ndarray:
        values = np.stack([to_pixels(picture, bundle.image_size) for picture in batch]).astype(np.float32) / 255
        return bundle.encode_pixels(values)

    return Encoder(f"bundle {folder.name} ({target})", pictures, bundle.encode_texts, bundle.executed)
