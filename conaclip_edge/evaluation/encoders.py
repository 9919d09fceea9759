"""Opening encoders: a folder of a teacher, a checkpoint or a bundle, by what lies in it. A bundle needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL.Image import Image

from conaclip_edge.bundle.open import open_bundle
from conaclip_edge.data.preprocess import Preprocess, to_pixels
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.models.model_folder import check_model, read_config
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.runtime.tower import Executed, Tower


def open_encoder(model: Path, target: str = "onnx") -> Encoder:
    """Open a model folder.

    Args:
        model: of a teacher, a checkpoint or a bundle.
        target: of a bundle: onnx, executorch, coreml or coreai.

    Raises:
        UserError: the folder holds none of them, or a broken one.
    """
    if (model / "manifest.json").is_file():
        return bundle_encoder(model, target)
    check_model(model)
    if (model / "config.json").is_file() and "conaclip_edge" in read_config(model):
        return open_student(model)
    return open_teacher(str(model))


def open_teacher(source: str) -> Encoder:
    """Open a teacher by its folder or hub name."""
    from conaclip_edge.evaluation.torch_encoders import teacher_encoder
    from conaclip_edge.models.teacher.load import load_teacher

    teacher = load_teacher(source)
    return teacher_encoder(teacher, teacher.kind)


def open_student(folder: Path) -> Encoder:
    """Open a checkpoint in float32."""
    from conaclip_edge.evaluation.torch_encoders import student_encoder
    from conaclip_edge.models.student.checkpoint import load_student

    return student_encoder(load_student(folder))


def bundle_encoder(folder: Path, target: str) -> Encoder:
    """Open the exported files of one target of a bundle."""
    bundle = open_bundle(folder, target)
    name = f"bundle {folder.name} ({target})"
    return files_encoder(name, bundle.image, bundle.text, bundle.tokenizer, bundle.preprocess)


def files_encoder(
    name: str,
    image: Tower | None,
    text: Tower | None,
    tokenizer: TextTokenizer,
    preprocess: Preprocess,
    padded: bool = False,
) -> Encoder:
    """Make an encoder of exported files.

    Args:
        name: for reports.
        image: the image tower; None if it cannot be run here.
        text: the text tower, likewise.
        tokenizer: of the files.
        preprocess: what is done to a picture before the image tower sees it.
        padded: texts always go in at the full context, as files without variable length need it.
    """
    lengths = text.lengths if text and text.lengths else None

    def pixels(pictures: list[Image]) -> np.ndarray:
        return np.stack([to_pixels(picture, preprocess) for picture in pictures]).astype(np.float32) / 255

    def tokens(texts: list[str], full: bool) -> np.ndarray:
        ids = tokenizer(texts, full or padded)
        room = ids.shape[1] if lengths is None else next(length for length in lengths if length >= ids.shape[1])
        return np.pad(ids, ((0, 0), (0, room - ids.shape[1])), constant_values=tokenizer.pad_id)

    found = [tower.executed for tower in (image, text) if tower is not None]
    executed: Executed = next((each for each in found if each != "native"), "native")
    return Encoder(name, executed, pixels, tokens, image, text, texts_per_call=1)
