"""The activation sites of an int8 tower: the tensors that stand on an 8-bit grid, in the order of execution."""

from __future__ import annotations

from typing import Literal

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.errors import UserError

# pixels: pixel_values - mean; relu6: a convolution after ReLU6; linear: everything else, of either sign
SiteKind = Literal["pixels", "relu6", "linear"]


def image_sites(config: ImageTowerConfig) -> dict[str, SiteKind]:
    """Return site -> kind of a mobile tower, in the order of execution.

    A convolution's site bears the name of its module; `blocks.N.sum` is the residual sum that a block gives, `pooled`
    the mean over all positions, `pixels` what the stem reads.

    Args:
        config: shape of the image tower.

    Raises:
        UserError: a tower of another kind.
    """
    if config.kind != "mobile":
        raise UserError(f"image tower '{config.kind}' has no int8 form with fixed activation ranges. Known: mobile.")
    sites: dict[str, SiteKind] = {"pixels": "pixels", "stem": "relu6"}
    channels, number = config.width, 0
    for expand, outputs, repeats, _, stride in config.stages:
        for repeat in range(repeats):
            block = f"blocks.{number}"
            if expand > 1:
                sites[f"{block}.expand"] = "relu6"
            sites[f"{block}.depthwise"] = "relu6"
            sites[f"{block}.project"] = "linear"
            if channels == outputs and (repeat > 0 or stride == 1):
                sites[f"{block}.sum"] = "linear"
            channels, number = outputs, number + 1
    if config.head_width:
        sites["head"] = "relu6"
    return sites | {"pooled": "linear", "projection": "linear"}
