"""Small random vision models of transformers, written as folders with their image processor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
STAGES = {"hidden_sizes": [8, 16, 16, 24], "depths": [1, 1, 1, 1], "image_size": 32}
VISION_MODELS: dict[str, Callable[[], Any]] = {
    "deit": lambda: transformers.DeiTConfig(**LAYERS, intermediate_size=48),
    "dinov2": lambda: transformers.Dinov2Config(**LAYERS, mlp_ratio=2),
    "convnextv2": lambda: transformers.ConvNextV2Config(**STAGES),
    "mobilevit": lambda: transformers.MobileViTConfig(
        image_size=64,
        hidden_sizes=[16, 16, 16],
        neck_hidden_sizes=[8, 8, 16, 16, 16, 16, 32],
        num_attention_heads=2,
    ),
    "mobilenet_v2": lambda: transformers.MobileNetV2Config(image_size=32, depth_multiplier=0.25),
}


@torch.no_grad()
def vision_folder(folder: Path, family: str) -> Path:
    """Write a model with weights and batch statistics that all matter."""
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(VISION_MODELS[family]())
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):  # as they are first made, no picture differs
            torch.nn.init.kaiming_normal_(module.weight)
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 1.5)
    model.save_pretrained(folder)
    steps = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}, "resample": 2}
    steps |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}
    if family == "mobilevit":
        steps = {"crop_size": {"height": 64, "width": 64}, "do_flip_channel_order": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(steps), "utf-8")
    return folder
