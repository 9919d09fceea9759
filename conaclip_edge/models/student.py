"""Building a student from a preset and the teacher: shape, vocabulary, first weights."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.config import ImageTowerConfig, ModelConfig, StudentConfig
from conaclip_edge.errors import UserError
from conaclip_edge.models.dual_encoder import DualEncoder
from conaclip_edge.models.presets import student_shape
from conaclip_edge.models.teacher import Teacher
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.models.vocab import prune


def build_student(
    config: StudentConfig, teacher: Teacher, corpus: list[str]
) -> tuple[DualEncoder, dict[str, Any], int]:
    """Build a student with the teacher's tokenizer (pruned on wish) and start its towers from pretrained weights.

    Args:
        config: preset, changes, vocabulary and where the first weights come from.
        teacher: gives tokenizer, token table, and text layers where the shapes match.
        corpus: train captions, for vocabulary pruning.

    Returns:
        The student, the content of its tokenizer.json, and how many parameters started from pretrained weights.
    """
    shape = student_shape(config)
    if config.embed_dim not in (None, teacher.embed_dim):
        raise UserError(
            f"student.embed_dim = {config.embed_dim}, but the teacher's space has {teacher.embed_dim} dimensions; "
            "edges between the two need one space. Leave embed_dim out."
        )
    tokenizer_json = json.loads(teacher.tokenizer_file.read_text("utf-8"))
    kept = np.arange(len(teacher.token_table()))
    if config.vocab.keep == "corpus":
        tokenizer_json, kept = prune(tokenizer_json, corpus, config.vocab.frequent)
    eos_id, pad_id = special_ids(tokenizer_json, shape.text.context)
    text = shape.text.model_copy(update={"vocab_size": len(kept), "eos_id": eos_id, "pad_id": pad_id})
    student = DualEncoder(ModelConfig(image=shape.image, text=text, embed_dim=teacher.embed_dim))
    taken = 0
    if config.init_text == "auto":
        taken += start_text(student, teacher, torch.from_numpy(kept))
    if config.init_image != "none":
        taken += start_image(student, shape.image, config.init_image)
    if config.freeze_blocks:
        if shape.image.kind != "mobile" or config.init_image == "none":
            raise UserError("student.freeze_blocks needs a mobile image tower that starts from pretrained weights.")
        student.image.mobile.freeze(config.freeze_blocks)
    return student, tokenizer_json, taken


def special_ids(tokenizer_json: dict[str, Any], context: int) -> tuple[int, int]:
    """Return the ids of EOS and padding in a tokenizer.json's content."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_text(json.dumps(tokenizer_json), "utf-8")
        tokenizer = TextTokenizer(file, context)
    return tokenizer.eos_id, tokenizer.pad_id


@torch.no_grad()
def start_text(student: DualEncoder, teacher: Teacher, kept: Tensor) -> int:
    """Copy the teacher's first text layers if it is a CLIP of that width, and its token table; returns the count."""
    target = student.text.clip.state_dict()
    layers = {
        name: value
        for name, value in teacher.text_layers().items()
        if name in target and value.shape == target[name].shape and "token_embedding" not in name
    }
    student.text.clip.load_state_dict(layers, strict=False)
    table = student.text.clip.text_model.embeddings.token_embedding.weight
    table.copy_(fit_width(teacher.token_table()[kept], table.shape[1]))
    return sum(value.numel() for value in layers.values()) + int(table.numel())


def fit_width(table: Tensor, width: int) -> Tensor:
    """Bring a token table [V, w] to another width: its principal components if narrower, zero-padded if wider.

    A narrower table is scaled to the spread that CLIP's tables start with, since layers from scratch follow it.
    """
    if width == table.shape[1]:
        return table
    if width > table.shape[1]:
        return torch.nn.functional.pad(table, (0, width - table.shape[1]))
    centred = table.double() - table.double().mean(dim=0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    narrow: Tensor = centred @ vectors.flip(1)[:, :width]
    return (narrow * (0.02 / narrow.std())).float()


@torch.no_grad()
def start_image(student: DualEncoder, shape: ImageTowerConfig, source: str) -> int:
    """Start the image tower from a folder's CLIP vision weights or, for mobile towers, EfficientNet-Lite0's."""
    if source == "auto":
        if shape.kind != "mobile":
            return 0
        from conaclip_edge.models.mobile import from_lite0
        from conaclip_edge.models.pretrained import lite0_weights

        try:
            from_lite0(lite0_weights(), student.image.mobile)
        except (KeyError, RuntimeError) as error:
            raise UserError(
                "student.init_image: EfficientNet-Lite0's weights do not fit the changed image tower. Take its stages "
                f"from the first on, or set init_image: none. ({' '.join(str(error).split())[:200]})"
            ) from error
        return sum(value.numel() for value in student.image.mobile.parameters())
    from safetensors.torch import load_file

    file = Path(source) / "model.safetensors"
    if not file.is_file():
        raise UserError(f"student.init_image: no model.safetensors in {source}. Known: auto, none, or a CLIP folder.")
    target = student.image.state_dict()
    prefix = "vit." if shape.kind == "vit" else ""
    named = {prefix + name.removeprefix("image."): value for name, value in load_file(file).items()}
    fitting = {name: value for name, value in named.items() if name in target and value.shape == target[name].shape}
    if not fitting:
        raise UserError(f"student.init_image: no weight of {file} fits the image tower (kind {shape.kind}).")
    student.image.load_state_dict(fitting, strict=False)
    return sum(value.numel() for value in fitting.values())
