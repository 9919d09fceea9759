"""Parameters, multiply-adds and activations of a student, counted from its shape: nothing is built."""

from __future__ import annotations

from typing import NamedTuple

from conaclip_edge.config.model import ImageTowerConfig, TextTowerConfig


class Counts(NamedTuple):
    """What a tower holds and does.

    Attributes:
        parameters: numbers that are trained, batch norm's running statistics not among them.
        multiply_adds: of one picture, or of one text.
        activations: numbers that layers give for one picture or text; a training step keeps about these.
    """

    parameters: int
    multiply_adds: int
    activations: int

    def plus(self, parameters: int, multiply_adds: int = 0, activations: int = 0) -> Counts:
        """Return the sum with another part."""
        return Counts(self.parameters + parameters, self.multiply_adds + multiply_adds, self.activations + activations)


def image_counts(config: ImageTowerConfig, embed_dim: int) -> Counts | None:
    """Count an image tower of the kinds `mobile` and `vit`; None for any other kind."""
    counted = {"mobile": _mobile, "vit": _vit}.get(config.kind)
    return counted(config, embed_dim) if counted else None


def text_counts(config: TextTowerConfig, embed_dim: int, ids: int = 8) -> Counts:
    """Count a text tower for a text of so many ids."""
    width = config.width
    found = _layers(width, config.mlp, config.layers, ids)
    found = found.plus((config.vocab_size + config.context) * width, 0, ids * width)
    return found.plus(2 * width + width * embed_dim, width * embed_dim, ids * width)


def _mobile(config: ImageTowerConfig, embed_dim: int) -> Counts:
    found, side, channels = Counts(0, 0, 0), config.size, 3

    def add(outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        nonlocal found, side, channels
        side = -(-side // stride)
        weights = outputs * channels // groups * kernel**2
        # a convolution and its batch norm, of which a step keeps both outputs
        found = found.plus(weights + 2 * outputs, side**2 * weights, 2 * side**2 * outputs)
        channels = outputs

    add(config.width, 3, stride=2)
    for expand, outputs, repeats, kernel, stride in config.stages:
        for index in range(repeats):
            hidden = channels * expand
            if expand > 1:
                add(hidden, 1)
            add(hidden, kernel, stride if index == 0 else 1, groups=hidden)
            add(outputs, 1)
    if config.head_width:
        add(config.head_width, 1)
    return found.plus(channels * embed_dim, channels * embed_dim, embed_dim)


def _vit(config: ImageTowerConfig, embed_dim: int) -> Counts:
    width, patches = config.width, (config.size // config.patch) ** 2
    patch = 3 * config.patch**2 * width
    found = _layers(width, config.mlp, config.layers, patches + 1)
    found = found.plus(patch + width + (patches + 1) * width, patches * patch, 2 * (patches + 1) * width)
    return found.plus(4 * width + width * embed_dim, width * embed_dim, embed_dim)


def _layers(width: int, mlp: int, layers: int, tokens: int) -> Counts:
    """Count transformer layers on so many tokens."""
    parameters = 4 * (width + 1) * width + 4 * width + (width + 1) * mlp + (mlp + 1) * width
    multiply_adds = tokens * (4 * width**2 + 2 * width * mlp) + 2 * tokens**2 * width
    return Counts(layers * parameters, layers * multiply_adds, layers * tokens * (10 * width + 2 * mlp))
