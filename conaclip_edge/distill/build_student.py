"""Building a student from a preset and the teacher: shape, vocabulary, first weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F

from conaclip_edge.config.model import ImageTowerConfig, ModelConfig, StudentConfig
from conaclip_edge.errors import UserError
from conaclip_edge.models.image_towers.positions import resized_positions
from conaclip_edge.models.image_towers.vision_model import VisionModelBackbone
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.inherit_towers import INHERIT, inherit_image, inherit_text
from conaclip_edge.models.student.presets import student_shape
from conaclip_edge.models.student.prune_vocabulary import prune
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.models.vocabulary_words import surface, whole_words
from conaclip_edge.system.files import read_json
from conaclip_edge.teacher_cache.store import text_embeddings


def build_student(
    config: StudentConfig,
    teacher: Teacher,
    corpus: list[str],
    cache: Path,
    said: np.ndarray | None = None,
    pictures: Callable[[], list[Image]] = list,
) -> tuple[DualEncoder, dict[str, Any], int]:
    """Build a student with the teacher's tokenizer (pruned on wish) and start its towers from pretrained weights.

    Args:
        config: preset, changes, vocabulary and where the first weights come from.
        teacher: gives tokenizer, token table, and text layers where the shapes match.
        corpus: train captions, for vocabulary pruning.
        cache: where what the teacher says of its vocabulary is kept.
        said: the teacher's unit vectors [n, d] of some of the corpus, for `vocab.near`.
        pictures: gives some train pictures, for `init_image: inherit`.

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
    # a table may have more rows than there are tokens (to fill up a multiple of 64): no text reaches them
    kept = np.arange(tokenizer_of(tokenizer_json, shape.text.context).vocab_size)
    known: dict[str, np.ndarray] = {}
    if config.vocab.keep == "corpus":
        near: list[str] = []
        if config.vocab.near and said is not None:
            words = whole_words(tokenizer_of(tokenizer_json, shape.text.context))
            known = vectors_of(teacher, words, cache)
            near = nearest_words(known, said, config.vocab.near)
        tokenizer_json, kept = prune(tokenizer_json, [*corpus, *near], config.vocab.frequent)
    tokenizer = tokenizer_of(tokenizer_json, shape.text.context)
    text = shape.text.model_copy(
        update={"vocab_size": len(kept), "eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id}
    )
    student = DualEncoder(ModelConfig(image=shape.image, text=text, embed_dim=teacher.embed_dim))
    taken = 0
    if config.init_text == INHERIT:
        taken += inherit_text(student, teacher, corpus, torch.from_numpy(kept))
    elif config.init_text not in ("auto", "none"):
        taken += continue_text(student, tokenizer_json, Path(config.init_text))
    elif config.init_text == "auto":
        pieces = surface(tokenizer)
        taken += start_text(student, teacher, torch.from_numpy(kept), pieces, tokenizer.special_ids, cache, known)
    backbone = student.image.backbone
    if config.init_image == INHERIT:
        taken += inherit_image(student, teacher, pictures)
    elif config.init_image == "auto" and isinstance(backbone, VisionModelBackbone) and "backbone" in config.image:
        taken += backbone.start_from(Path(config.image["backbone"]))
    elif config.init_image != "none":
        taken += start_image(student, shape.image, config.init_image)
    if config.freeze_blocks:
        if config.init_image == "none":
            raise UserError("student.freeze_blocks keeps pretrained weights, and init_image: none gives none.")
        student.image.backbone.freeze(config.freeze_blocks)
    return student, tokenizer_json, taken


def tokenizer_of(tokenizer_json: dict[str, Any], context: int) -> TextTokenizer:
    """Make the tokenizer of a tokenizer.json's content."""
    return TextTokenizer(Path("tokenizer.json"), context, json.dumps(tokenizer_json), ignore_padding=True)


@torch.no_grad()
def start_text(
    student: DualEncoder,
    teacher: Teacher,
    kept: Tensor,
    pieces: list[str],
    special: list[int],
    cache: Path,
    known: dict[str, np.ndarray],
) -> int:
    """Start the text tower from the teacher; returns the number of weights taken.

    A CLIP teacher of the same width gives its first layers and its token table. No other teacher's layers fit, so the
    tower starts as a static embedding of the teacher: see `start_static`.
    """
    clip = student.text.clip
    table = clip.text_model.embeddings.token_embedding.weight
    target = clip.state_dict()
    layers = {
        name: value
        for name, value in teacher.text_layers().items()
        if name in target and value.shape == target[name].shape and "token_embedding" not in name
    }
    if layers and teacher.token_table().shape[1] == table.shape[1]:
        clip.load_state_dict(layers, strict=False)
        table.copy_(teacher.token_table()[kept])
        return sum(value.numel() for value in layers.values()) + int(table.numel())
    known = known | vectors_of(teacher, [piece for piece in dict.fromkeys(pieces) if piece not in known], cache)
    start_static(clip, torch.from_numpy(np.stack([known[piece] for piece in pieces])), special)
    return int(table.numel())


@torch.no_grad()
def start_static(clip: Any, vectors: Tensor, special: list[int]) -> None:
    """Make a CLIP text tower begin as the mean of its tokens, each a row of what the teacher says of that piece alone.

    The rows are the principal components of the teacher's vectors (as model2vec distils static embeddings); the first
    attention passes the mean of all rows to EOS, what follows hardly changes it, and the projection turns components
    back into the teacher's space. Training then adds order and context to a tower that can retrieve from step 0.

    Args:
        clip: transformers' CLIPTextModelWithProjection.
        vectors: the teacher's unit vectors of the vocabulary [V, d].
        special: ids that say nothing by themselves (begin, end, padding).
    """
    text = clip.text_model
    width = text.embeddings.token_embedding.weight.shape[1]
    kept = min(width, vectors.shape[1])
    centred = vectors.double() - vectors.double().mean(dim=0)
    components = torch.linalg.eigh(centred.T @ centred)[1].flip(1)[:, :kept]
    rows = centred @ components
    rows = rows * (0.02 / rows.std())  # the spread that CLIP's tables start with
    rows[special] = 0
    text.embeddings.token_embedding.weight.copy_(F.pad(rows, (0, width - kept)))
    text.embeddings.position_embedding.weight.zero_()
    clip.text_projection.weight.copy_(F.pad(components, (0, width - kept)))
    for index, layer in enumerate(text.encoder.layers):
        attention = layer.self_attn
        if index == 0:
            attention.v_proj.weight.copy_(torch.eye(width))
            attention.out_proj.weight.copy_(torch.eye(width))
            attention.q_proj.weight.mul_(0.3)  # nearly the same weight for every token
            attention.k_proj.weight.mul_(0.3)
        else:
            attention.out_proj.weight.mul_(0.1)
        layer.mlp.fc2.weight.mul_(0.1)


def vectors_of(teacher: Teacher, texts: list[str], cache: Path) -> dict[str, np.ndarray]:
    """Return what the teacher says of each text of its vocabulary."""
    if not texts:
        return {}
    return dict(zip(texts, text_embeddings(teacher, texts, cache, "its vocabulary"), strict=True))


def nearest_words(known: dict[str, np.ndarray], said: np.ndarray, count: int) -> list[str]:
    """Return the words nearest to what a corpus is about: by the mean cosine to the three texts nearest to each.

    Args:
        known: unit vector [d] of each word.
        said: unit vectors [n, d] of the corpus.
        count: of words to return, the nearest first.
    """
    words = list(known)
    best = min(3, len(said))
    closeness = [
        np.partition(np.stack([known[word] for word in words[start : start + 1024]]) @ said.T, -best)[:, -best:]
        for start in range(0, len(words), 1024)
    ]
    if not closeness:
        return []
    order = np.argsort(-np.concatenate(closeness).mean(axis=1), kind="stable")
    return [words[place] for place in order[:count]]


@torch.no_grad()
def start_image(student: DualEncoder, shape: ImageTowerConfig, source: str) -> int:
    """Start the image tower from a folder's CLIP vision weights or, for `auto`, those that come with its kind."""
    if source == "auto":
        return student.image.backbone.start_pretrained()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = Path(source) / "model.safetensors"
    if not file.is_file():
        raise UserError(f"student.init_image: no model.safetensors in {source}. Known: auto, none, or a CLIP folder.")
    target = student.image.state_dict()
    prefix = "vit." if shape.kind == "vit" else ""
    try:
        held = load_file(file)
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:200].removesuffix(".")
        raise UserError(f"student.init_image: cannot read {file}: {reason}. Fetch it again.") from error
    named = {prefix + name.removeprefix("image."): value for name, value in held.items()}
    for name, value in named.items():
        if name.endswith("position_embedding.weight") and name in target:
            named[name] = resized_positions(value, len(target[name]))
    fitting = {name: value for name, value in named.items() if name in target and value.shape == target[name].shape}
    if not fitting:
        raise UserError(f"student.init_image: no weight of {file} fits the image tower (kind {shape.kind}).")
    student.image.load_state_dict(fitting, strict=False)
    return sum(value.numel() for value in fitting.values())


@torch.no_grad()
def continue_text(student: DualEncoder, tokenizer_json: dict[str, Any], folder: Path) -> int:
    """Start the text tower from an earlier student's, whole; returns the number of weights taken."""
    earlier = load_student(folder)
    if read_json(folder / "tokenizer.json", "tokenizer")["model"] != tokenizer_json["model"]:
        raise UserError(
            f"student.init_text: {folder} has another vocabulary, so its token rows mean other tokens. Use the data "
            "and the student.vocab that it was distilled with."
        )
    try:
        student.text.load_state_dict(earlier.model.text.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"student.init_text: the text tower of {folder} has another shape. ({reason})") from error
    return sum(value.numel() for value in student.text.parameters())
