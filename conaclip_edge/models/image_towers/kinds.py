"""The kinds of image towers: the `kind` of a recipe, and the module that builds it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.errors import unknown

if TYPE_CHECKING:  # torch takes seconds to import, and a wrong kind is to be reported at once
    from conaclip_edge.models.image_towers.backbone import Backbone

# kind -> module with `build(config, embed_dim) -> Backbone`
IMAGE_TOWERS = {
    "vit": "conaclip_edge.models.image_towers.vit",
    "mobile": "conaclip_edge.models.image_towers.mobile",
    "siglip": "conaclip_edge.models.image_towers.siglip",
    "transformers": "conaclip_edge.models.image_towers.vision_model",
}


def check_kind(kind: str) -> None:
    """Raise UserError for a kind of image tower that is not in the table."""
    if kind not in IMAGE_TOWERS:
        raise unknown("image tower", kind, IMAGE_TOWERS, where="student.image.kind")


def build_backbone(config: ImageTowerConfig, embed_dim: int) -> Backbone:
    """Build the backbone of an image tower with random weights.

    Args:
        config: its kind and shape.
        embed_dim: width of the embedding, for kinds that project to it themselves.

    Raises:
        UserError: no such kind.
    """
    check_kind(config.kind)
    build: Callable[[ImageTowerConfig, int], Backbone] = import_module(IMAGE_TOWERS[config.kind]).build
    return build(config, embed_dim)
