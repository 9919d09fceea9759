"""Teachers: frozen dual encoders that turn pictures and texts into unit vectors of one space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.config.base import Growing
from conaclip_edge.errors import ConaclipError, UserError
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.system.files import read_json, sha256_file, sha256_text

TEACHER_TYPE = "conaclip-edge-teacher"


class JoinedConfig(Growing):
    """Shape of a joined teacher: pretrained towers and what sits between them and the common space."""

    later: ClassVar[frozenset[str]] = frozenset({"temperature"})

    model_type: str = TEACHER_TYPE
    name: str
    embed_dim: int
    hidden: int
    image_size: int = 224
    temperature: float = 0.07


class Head(nn.Module):
    """An MLP from a tower's features to the common space."""

    def __init__(self, features: int, hidden: int, embed_dim: int, dropout: float = 0.0):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, embed_dim),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, features] to unit vectors [B, embed_dim]."""
        return F.normalize(self.layers(features), dim=-1)


class JoinedTeacher(Teacher):
    """EfficientNet-Lite0 and MiniLM, joined by a trained image head into MiniLM's space."""

    kind = "joined teacher"

    def __init__(self, config: JoinedConfig, folder: Path):
        super().__init__()
        from transformers import BertConfig, BertModel

        from conaclip_edge.models.image_towers.lite0 import LITE0
        from conaclip_edge.models.image_towers.mobile import MobileBackbone
        from conaclip_edge.models.teacher.packaged_towers import MeanPooledText
        from conaclip_edge.models.tokenizer import TextTokenizer

        self.name, self.embed_dim = config.name, config.embed_dim
        self.config = config
        self.image = MobileBackbone(LITE0)
        bert = BertConfig.from_dict(read_json(folder / "text.json", "teacher text config"))
        self.text = MeanPooledText(BertModel(bert, add_pooling_layer=False))
        self.image_head = Head(self.image.features, config.hidden, config.embed_dim)
        self.tokenizer_file = folder / "tokenizer.json"
        self.context = 64
        self.tokenizer = TextTokenizer(self.tokenizer_file, self.context, ignore_padding=True)
        self.freeze()

    @classmethod
    def load(cls, folder: Path) -> JoinedTeacher:
        """Load from a folder written by `save`."""
        from safetensors.torch import load_file

        from conaclip_edge.config.parse import parse

        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise UserError(f"teacher {folder} has no model.safetensors. Make it again: conaclip-edge train-teacher")
        config = parse(JoinedConfig, read_json(folder / "config.json", "teacher config"), str(folder / "config.json"))
        try:
            teacher = cls(config, folder)
            teacher.load_state_dict(load_file(weights))
        except ConaclipError:
            raise
        except Exception as error:  # of text.json transformers makes almost anything
            raise UserError(
                f"teacher {folder}: its model.safetensors does not fit its config.json and text.json: "
                f"{' '.join(str(error).split())[:200]}. Make it again: conaclip-edge train-teacher"
            ) from error
        damaged = next((name for name, value in teacher.state_dict().items() if not value.isfinite().all()), None)
        if damaged:
            raise UserError(
                f"teacher {folder}: {damaged} in its model.safetensors holds values that are no finite numbers. "
                "Make it again: conaclip-edge train-teacher"
            )
        teacher.fingerprint = sha256_text(sha256_file(weights), sha256_file(teacher.tokenizer_file), "joined/1")
        return teacher

    def save(self, folder: Path, text_config: dict[str, Any], training: dict[str, Any]) -> None:
        """Write the folder that `load` reads."""
        from safetensors.torch import save_file

        save_file(self.state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(self.config.model_dump(), indent=2) + "\n", "utf-8")
        (folder / "text.json").write_text(json.dumps(text_config, indent=2) + "\n", "utf-8")
        (folder / "training.json").write_text(json.dumps(training, indent=2) + "\n", "utf-8")
        if folder != self.tokenizer_file.parent:
            (folder / "tokenizer.json").write_bytes(self.tokenizer_file.read_bytes())

    @property
    def temperature(self) -> float:
        """What cosines were divided by while its head was trained."""
        return self.config.temperature

    def pixels(self, pictures: list[Image]) -> Tensor:
        """Turn upright RGB pictures into normalised pixels [n, 3, 224, 224]."""
        from conaclip_edge.models.teacher.packaged_towers import lite0_pixels

        return lite0_pixels(pictures)

    def tokens(self, texts: list[str], full: bool = False) -> tuple[Tensor, Tensor]:
        """Turn texts into ids and mask [n, L]."""
        from conaclip_edge.models.teacher.packaged_towers import ids_and_mask

        return ids_and_mask(self.tokenizer, texts, full)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels to unit vectors [n, embed_dim]."""
        embedding: Tensor = self.image_head(F.normalize(self.image(pixels), dim=-1))
        return embedding

    def encode_tokens(self, tokens: tuple[Tensor, Tensor]) -> Tensor:
        """Map ids and mask to unit vectors [n, embed_dim]."""
        return F.normalize(self.text(*tokens), dim=-1)

    def token_table(self) -> Tensor:
        """Return MiniLM's word embeddings [30522, 384]."""
        table: Tensor = self.text.encoder.embeddings.word_embeddings.weight
        return table

    def mobile_blocks(self) -> nn.Module | None:
        """Return EfficientNet-Lite0."""
        return self.image
