"""Small random students, pictures and captions for the export tests."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import nn

from conaclip_edge.config.model import ImageTowerConfig, ModelConfig, TextTowerConfig
from conaclip_edge.export.quantize.calibration import Calibration, make_calibration
from conaclip_edge.models.quantization.post_training import quantize_after_training
from conaclip_edge.models.quantization.record import Quantization
from conaclip_edge.models.student.dual_encoder import DualEncoder

CONTEXT, EOS, VOCAB, SIZE = 12, 40, 50, 32
STAGES = ((1, 8, 1, 3, 1), (4, 12, 2, 5, 2), (4, 16, 1, 3, 2))
VIT = ImageTowerConfig(kind="vit", size=SIZE, width=32, layers=2, heads=2, mlp=64, patch=8)
MOBILE = ImageTowerConfig(
    kind="mobile", size=SIZE, width=8, stages=STAGES, head_width=24, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25)
)


def student(kind: str = "vit", activation: str = "gelu", eos: int = EOS, seed: int = 0) -> DualEncoder:
    """A student with random weights that are large enough for every part to matter."""
    torch.manual_seed(seed)
    image = (VIT if kind == "vit" else MOBILE).model_copy(update={"activation": activation})
    text = TextTowerConfig(
        width=32,
        layers=2,
        heads=4,
        mlp=64,
        context=CONTEXT,
        activation=activation,
        vocab_size=VOCAB,
        eos_id=eos,
        pad_id=0,
    )
    model = DualEncoder(ModelConfig(image=image, text=text, embed_dim=16))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, 0, 0.15)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    """Random pixel values float32 [count, 3, SIZE, SIZE] of the 256 levels that pictures have."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=random) / 255.0


def drawings(count: int, seed: int) -> torch.Tensor:
    """Pictures [count, 3, SIZE, SIZE] of three filled rectangles on white, of the 256 levels that pictures have."""
    random = np.random.default_rng(seed)
    made = np.full((count, 3, SIZE, SIZE), 255, np.uint8)
    for picture in made:
        for _ in range(3):
            (top, left), (height, width) = random.integers(0, SIZE - 8, 2), random.integers(4, 16, 2)
            picture[:, top : top + height, left : left + width] = random.integers(0, 256, (3, 1, 1))
    return torch.from_numpy(made)


@functools.cache
def int8_student() -> tuple[DualEncoder, Quantization]:
    """A mobile student whose image tower computes in int8, fitted to drawings; not to be changed."""
    tower = quantize_after_training(student("mobile").image, drawings(48, seed=1) / 255.0)
    model = student("mobile", seed=3)
    tower.write_to(model.image)
    return model, Quantization(image=tower.grids)


class MeanOfRows(nn.Module):
    """A text tower that is quickly converted, for tests of the image tower."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCAB, 16)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Map ids [B, L] to [B, 16]."""
        return self.table(ids).mean(dim=1)


def text(length: int, eos: int = EOS, seed: int = 0) -> list[int]:
    """Random ids of a length, the last one EOS and no other."""
    random = np.random.default_rng(seed)
    known = np.setdiff1d(np.arange(VOCAB), [eos])
    return [*random.choice(known, length - 1).tolist(), eos]


def calibration(count: int = 8) -> Calibration:
    """Random pictures, and texts of all lengths."""
    pixels = (pictures(count, seed=5) * 255).round().to(torch.uint8).numpy()
    lengths = np.random.default_rng(5).integers(2, CONTEXT + 1, count)
    return make_calibration(pixels, [np.asarray(text(int(n), seed=i), np.int32) for i, n in enumerate(lengths)])
