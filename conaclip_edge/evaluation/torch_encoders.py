"""Models in torch as encoders: teachers, checkpoints, the bare shape of CLIP. torch is imported when one is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Image

from conaclip_edge.data.preprocess import Preprocess, to_pixels
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.models.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from conaclip_edge.models.student.checkpoint import Student
    from conaclip_edge.models.student.dual_encoder import DualEncoder
    from conaclip_edge.models.teacher.base import Teacher


def teacher_encoder(teacher: Teacher, kind: str) -> Encoder:
    """Make an encoder of a loaded teacher.

    Args:
        teacher: joined, or of transformers.
        kind: of model, for reports, such as "clip".
    """
    encode_pixels, encode_tokens = _to_numpy(teacher.encode_pixels), _to_numpy(teacher.encode_tokens)
    return Encoder(f"{teacher.name} ({kind})", "torch", teacher.pixels, teacher.tokens, encode_pixels, encode_tokens)


def student_encoder(student: Student) -> Encoder:
    """Make an encoder of a loaded checkpoint, in float32."""
    import torch

    model, preprocess = student.model, Preprocess.of(student.model.config.image)

    def pixels(pictures: list[Image]) -> Tensor:
        return torch.from_numpy(np.stack([to_pixels(picture, preprocess) for picture in pictures])).float() / 255

    def tokens(texts: list[str], full: bool) -> Tensor:
        return torch.from_numpy(student.tokenizer(texts, full))

    name = f"student {student.folder.name}"
    return Encoder(name, "torch", pixels, tokens, _to_numpy(model.encode_image), _to_numpy(model.encode_text))


def clip_b32_encoder(tokenizer_file: Path, context: int) -> Encoder:
    """Make an encoder of the shape of CLIP ViT-B/32 with random weights: it takes CLIP's time and finds nothing.

    Args:
        tokenizer_file: of a bundle; texts get as many ids as it gives them.
        context: of the bundle, in ids.
    """
    import torch
    from torch.nn.functional import pad
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig()).eval()
    vision, text = model.config.vision_config, model.config.text_config
    positions, end = text.max_position_embeddings, text.eos_token_id
    tokenizer = TextTokenizer(tokenizer_file, min(positions, context))

    def pixels(pictures: list[Image]) -> Tensor:
        stacked = np.stack([to_pixels(picture, vision.image_size) for picture in pictures])
        return torch.from_numpy(stacked).float() / 127.5 - 1

    def tokens(texts: list[str], full: bool) -> Tensor:
        ids = torch.from_numpy(tokenizer(texts)).long() % end
        ids[:, -1] = end
        return pad(ids, (0, positions - ids.shape[1] if full else 0), value=end)

    def image(pixel_values: Tensor) -> Tensor:
        embedding: Tensor = model.get_image_features(pixel_values=pixel_values).pooler_output
        return embedding

    def encode(input_ids: Tensor) -> Tensor:
        embedding: Tensor = model.get_text_features(input_ids=input_ids).pooler_output
        return embedding

    return Encoder("CLIP ViT-B/32", "torch", pixels, tokens, _to_numpy(image), _to_numpy(encode))


def embed_pixels(model: DualEncoder, batches: Iterable[np.ndarray]) -> np.ndarray:
    """Embed pictures that are prepared already by a student, as it is while it trains or before it is exported.

    Args:
        model: on any device; its mode (train or eval) is the same afterwards.
        batches: uint8 pixels [b, 3, size, size]; at least one.

    Returns:
        Unit vectors float32 [n, d].
    """
    return _embed(model, lambda pixels: model.encode_image(pixels.float() / 255), batches)


def embed_ids(model: DualEncoder, batches: Iterable[np.ndarray]) -> np.ndarray:
    """Embed texts that are tokenised already by a student.

    Args:
        model: as in `embed_pixels`.
        batches: int32 ids [b, L], padded behind their EOS to L; at least one.

    Returns:
        Unit vectors float32 [n, d].
    """
    return _embed(model, model.encode_text, batches)


def _embed(model: DualEncoder, encode: Callable[[Tensor], Tensor], batches: Iterable[np.ndarray]) -> np.ndarray:
    import torch

    training, device, run = model.training, model.logit_scale.device, _to_numpy(encode)
    model.eval()
    try:
        return np.concatenate([run(torch.from_numpy(batch).to(device)) for batch in batches])
    finally:
        model.train(training)


def _to_numpy(encode: Callable[[Any], Tensor]) -> Callable[[Any], np.ndarray]:
    import torch

    def run(values: Any) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(encode(values).cpu().numpy())

    return run
