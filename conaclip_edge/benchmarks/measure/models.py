"""What is measured: exported files and the models that they are held against, behind the same four functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL.Image import Image

from conaclip_edge.data.preprocess import to_pixels
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.runtime.open_tower import open_tower
from conaclip_edge.runtime.tower import Executed
from conaclip_edge.system.files import read_json


@dataclass(frozen=True)
class Spec:
    """How to open a subject in any process.

    Attributes:
        row: id of its row.
        kind: exported files, a checkpoint, a teacher, or the shape of CLIP ViT-B/32 with random weights.
        source: folder of the checkpoint or teacher; of the bundle for the other two, which use its tokenizer.
        image: exported image tower; None if it cannot be run.
        text: exported text tower, likewise.
        padded: texts always go in at the full context, as exports without variable length need it.
        shipped: part of the bundle, not something that it is held against.
    """

    row: str
    kind: Literal["files", "student", "teacher", "clip-vit-b32"]
    source: str
    image: Path | None = None
    text: Path | None = None
    padded: bool = False
    shipped: bool = False


@dataclass(frozen=True)
class Subject:
    """A dual encoder, loaded.

    Attributes:
        executed: "native", or "reference" if our interpreter runs it.
        pixels: upright RGB pictures -> input of the image tower.
        tokens: texts, and whether to pad them to the full context -> input of the text tower.
        image: such an input -> unit vectors [n, d]; None if the tower cannot be run.
        text: likewise.
    """

    executed: Executed
    pixels: Callable[[list[Image]], Any]
    tokens: Callable[[list[str], bool], Any]
    image: Callable[[Any], np.ndarray] | None
    text: Callable[[Any], np.ndarray] | None


def open_subject(spec: Spec, threads: int) -> Subject:
    """Load a subject with so many CPU threads."""
    if spec.kind == "files":
        return _open_files(spec, threads)
    import torch

    torch.set_num_threads(threads)
    opener = {"student": _open_student, "teacher": _open_teacher, "clip-vit-b32": _open_clip}[spec.kind]
    return opener(spec.source)


def _open_files(spec: Spec, threads: int) -> Subject:
    manifest = read_json(Path(spec.source) / "manifest.json", "bundle manifest")
    size, context = int(manifest["image_size"]), int(manifest["context"])
    tokenizer = TextTokenizer(Path(spec.source) / "tokenizer.json", context)
    image = open_tower(spec.image, threads) if spec.image else None
    text = open_tower(spec.text, threads) if spec.text else None
    lengths = text.lengths if text and text.lengths else None

    def pixels(pictures: list[Image]) -> np.ndarray:
        return np.stack([to_pixels(picture, size) for picture in pictures]).astype(np.float32) / 255

    def tokens(texts: list[str], full: bool) -> np.ndarray:
        ids = tokenizer(texts)
        room = context if full or spec.padded else ids.shape[1]
        room = room if lengths is None else next(length for length in lengths if length >= room)
        return np.pad(ids, ((0, 0), (0, room - ids.shape[1])), constant_values=tokenizer.pad_id)

    ran = {tower.executed for tower in (image, text) if tower is not None}
    return Subject("reference" if "reference" in ran else "native", pixels, tokens, image, text)


def _open_student(folder: str) -> Subject:
    import torch

    from conaclip_edge.models.student.checkpoint import load_student

    student = load_student(Path(folder))
    size, context = student.model.config.image.size, student.model.config.text.context

    def pixels(pictures: list[Image]) -> Any:
        return torch.from_numpy(np.stack([to_pixels(picture, size) for picture in pictures])).float() / 255

    def tokens(texts: list[str], full: bool) -> Any:
        return torch.from_numpy(_padded(student.tokenizer(texts), context if full else 0, student.tokenizer.pad_id))

    return Subject("native", pixels, tokens, _numpy(student.model.encode_image), _numpy(student.model.encode_text))


def _open_teacher(source: str) -> Subject:
    from conaclip_edge.models.teacher.joined import JoinedTeacher
    from conaclip_edge.models.teacher.load import load_teacher

    teacher: Any = load_teacher(source)
    return _joined(teacher) if isinstance(teacher, JoinedTeacher) else _transformers(teacher)


def _joined(teacher: Any) -> Subject:
    import torch
    from torch.nn import functional as F

    from conaclip_edge.models.image_towers.lite0 import LITE0

    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (LITE0.mean, LITE0.std))
    pad_id, context = teacher.tokenizer.pad_id, teacher.tokenizer.context

    def pixels(pictures: list[Image]) -> Any:
        values = torch.from_numpy(np.stack([to_pixels(picture, LITE0.size) for picture in pictures])).float() / 255
        return ((values - mean) / std).contiguous(memory_format=torch.channels_last)

    def tokens(texts: list[str], full: bool) -> Any:
        ids = torch.from_numpy(_padded(teacher.tokenizer(texts), context if full else 0, pad_id)).long()
        return ids, (ids != pad_id).long()

    image = _numpy(lambda values: teacher.image_head(F.normalize(teacher.image(values), dim=-1)))
    text = _numpy(lambda values: F.normalize(teacher.text(*values), dim=-1))
    return Subject("native", pixels, tokens, image, text)


def _transformers(teacher: Any) -> Subject:
    from torch.nn import functional as F

    model = teacher.model

    def pixels(pictures: list[Image]) -> Any:
        return teacher.image_processor(images=pictures, return_tensors="pt")

    def tokens(texts: list[str], full: bool) -> Any:
        padding = teacher.padding | ({"padding": "max_length"} if full else {})
        return teacher.tokenizer(texts, return_tensors="pt", **padding)

    image = _numpy(lambda values: F.normalize(model.get_image_features(**values).pooler_output, dim=-1))
    text = _numpy(lambda values: F.normalize(model.get_text_features(**values).pooler_output, dim=-1))
    return Subject("native", pixels, tokens, image, text)


def _open_clip(bundle: str) -> Subject:
    """Build the shape of CLIP ViT-B/32; texts have as many ids as the bundle's tokenizer gives them."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig()).eval()
    vision, text = model.config.vision_config, model.config.text_config
    context, end = text.max_position_embeddings, text.eos_token_id
    manifest = read_json(Path(bundle) / "manifest.json", "bundle manifest")
    tokenizer = TextTokenizer(Path(bundle) / "tokenizer.json", min(context, int(manifest["context"])))

    def pixels(pictures: list[Image]) -> Any:
        stacked = np.stack([to_pixels(picture, vision.image_size) for picture in pictures])
        return torch.from_numpy(stacked).float() / 127.5 - 1

    def tokens(texts: list[str], full: bool) -> Any:
        ids = torch.from_numpy(tokenizer(texts)).long() % end
        ids[:, -1] = end
        return torch.nn.functional.pad(ids, (0, context - ids.shape[1] if full else 0), value=end)

    image = _numpy(lambda values: model.get_image_features(pixel_values=values).pooler_output)
    encode = _numpy(lambda values: model.get_text_features(input_ids=values).pooler_output)
    return Subject("native", pixels, tokens, image, encode)


def _padded(ids: np.ndarray, length: int, pad_id: int) -> np.ndarray:
    return np.pad(ids, ((0, 0), (0, max(0, length - ids.shape[1]))), constant_values=pad_id)


def _numpy(encode: Callable[[Any], Any]) -> Callable[[Any], np.ndarray]:
    import torch

    def run(values: Any) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(encode(values).numpy())

    return run
