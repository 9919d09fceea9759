"""The kind `transformers`: any vision model of transformers, such as DeiT, DINOv2, ConvNeXt V2, MobileViT, MobileNetV2.

A recipe names a folder of one (`student.image.backbone`); the checkpoint holds its config.json and no path.
"""

from __future__ import annotations

from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.errors import UserError
from conaclip_edge.models.image_towers.backbone import Backbone
from conaclip_edge.models.image_towers.layers import NORM_MOMENTUM
from conaclip_edge.models.image_towers.positions import resized_positions
from conaclip_edge.models.image_towers.vision_folder import checked_config, is_blue_first


class VisionModelBackbone(Backbone):
    """A vision model under transformers' names; its features are what it pools, or its class row."""

    pretrained = True

    def __init__(self, config: ImageTowerConfig):
        super().__init__()
        self.model = _model(config.backbone_config, config.size)
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = NORM_MOMENTUM  # MobileNetV2 comes with 0.997: statistics of the last batch alone
        self.model.eval()  # so that batch norms take no statistics from the trial
        with torch.no_grad():
            features, maps = self._output(torch.zeros(1, 3, config.size, config.size))
        self.model.train()
        self.features, self.channels_last = int(features.shape[1]), maps

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels [B, 3, H, W] to features [B, features]."""
        return self._output(pixels)[0]

    def _output(self, pixels: Tensor) -> tuple[Tensor, bool]:
        """Return features [B, features], and whether the model computes on maps."""
        given = self.model(pixel_values=pixels)
        last, pooled = given.last_hidden_state, getattr(given, "pooler_output", None)
        maps = last.ndim == 4
        if pooled is None:
            pooled = last.mean(dim=(2, 3)) if maps else last[:, 0]
        return pooled.flatten(1), maps

    def start_from(self, folder: Path) -> int:
        """Load the weights of a model's folder.

        Args:
            folder: with config.json and safetensors; positions are brought to this tower's picture size.

        Returns:
            How many weights were loaded.

        Raises:
            UserError: they do not fit.
        """
        from transformers import AutoModel
        from transformers.utils import logging

        checked_config(folder)
        logging.set_verbosity_error()  # what does not fit is said below
        try:
            source, report = AutoModel.from_pretrained(
                str(folder),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        except Exception as error:  # what a broken folder raises differs with the family
            reason = " ".join(str(error).split())[:200].removesuffix(".")
            raise UserError(f"student.image.backbone: cannot read {folder}: {reason}. Fetch it again.") from error
        unread = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
        held, target = source.state_dict(), self.model.state_dict()
        if is_blue_first(folder):
            held[_first_convolution(source)] = held[_first_convolution(source)].flip(1)
        for name, wanted in target.items():
            if name.endswith("position_embeddings") and name in held and held[name].shape != wanted.shape:
                # a class row; with DeiT's row of distillation; none
                held[name] = resized_positions(held[name][0], wanted.shape[1], (1, 2, 0))[None]
        missing = [name for name in target if name in unread or held[name].shape != target[name].shape]
        if missing:
            raise UserError(
                f"student.image.backbone: {folder} has no {missing[0]} of the shape {list(target[missing[0]].shape)} "
                "that its config.json asks for. Take both from the same model."
            )
        self.model.load_state_dict({name: held[name] for name in target})
        return sum(value.numel() for value in self.model.parameters())


def build(config: ImageTowerConfig, embed_dim: int) -> VisionModelBackbone:
    """Build a vision model with random weights; the projection to `embed_dim` follows it.

    Raises:
        UserError: there is no config of a model.
    """
    if "model_type" not in config.backbone_config:
        raise UserError("an image tower of kind 'transformers' needs a model: student.image.backbone=FOLDER.")
    return VisionModelBackbone(config)


def _model(content: dict[str, Any], size: int) -> Any:
    """Build a model by the content of its config.json, for pictures of a size."""
    from transformers import CONFIG_MAPPING, AutoModel

    known = CONFIG_MAPPING[content["model_type"]]
    config = known.from_dict({key: value for key, value in content.items() if key != "auto_map"})
    if hasattr(config, "image_size"):
        config.image_size = size
    options: dict[str, Any] = {"trust_remote_code": False, "attn_implementation": "eager"}
    try:  # the pooler that some families add is of another task, and is not among the weights
        model: Any = AutoModel.from_config(config, add_pooling_layer=False, **options)
    except TypeError:
        model = AutoModel.from_config(config, **options)
    embeddings: Any = getattr(model, "embeddings", None)
    if hasattr(embeddings, "interpolate_pos_encoding"):
        # every picture has the size that the positions are for; as tracing goes through, it would resize them to itself
        embeddings.interpolate_pos_encoding = MethodType(_positions, embeddings)
    return model


def _positions(embeddings: Any, *_: Any) -> Tensor:
    positions: Tensor = embeddings.position_embeddings
    return positions


def _first_convolution(model: nn.Module) -> str:
    return next(f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
