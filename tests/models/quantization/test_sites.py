"""The sites of an int8 tower are the tensors of the tower that is exported."""

from __future__ import annotations

import pytest

from conaclip_edge.config.model import ImageTowerConfig, ModelConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.towers.layers import Conv, InvertedResidual
from conaclip_edge.export.towers.towers import image_tower
from conaclip_edge.models.quantization.sites import image_sites
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.presets import PRESETS
from tests.helpers.small_students import MOBILE, VIT, student

TOWERS = {"small": MOBILE, "no head": MOBILE.model_copy(update={"head_width": 0}), "demo": PRESETS["demo"].image}


def tower(config: ImageTowerConfig):
    text = student().config.text
    return image_tower(DualEncoder(ModelConfig(image=config, text=text, embed_dim=8)))


@pytest.mark.parametrize("name", TOWERS)
def test_every_convolution_has_a_site_of_its_name_and_kind(name: str) -> None:
    convolutions = {
        path: "relu6" if layer.active else "linear"
        for path, layer in tower(TOWERS[name]).named_modules()
        if isinstance(layer, Conv)
    }
    sites = image_sites(TOWERS[name])
    assert {site: kind for site, kind in sites.items() if site in convolutions} == convolutions


@pytest.mark.parametrize("name", TOWERS)
def test_every_residual_sum_has_a_site_and_no_other_block_has(name: str) -> None:
    sums = {
        f"{path}.sum"
        for path, block in tower(TOWERS[name]).named_modules()
        if isinstance(block, InvertedResidual) and block.residual
    }
    assert {site for site in image_sites(TOWERS[name]) if site.endswith(".sum")} == sums


def test_sites_stand_in_the_order_of_execution() -> None:
    assert list(image_sites(MOBILE))[:8] == [
        "pixels",
        "stem",
        "blocks.0.depthwise",
        "blocks.0.project",
        "blocks.0.sum",
        "blocks.1.expand",
        "blocks.1.depthwise",
        "blocks.1.project",
    ]
    assert list(image_sites(MOBILE))[-3:] == ["head", "pooled", "projection"]


def test_a_tower_without_an_int8_form_is_an_error() -> None:
    with pytest.raises(
        UserError, match=r"image tower .vit. has no int8 form with fixed activation ranges\. Known: mob"
    ):
        image_sites(VIT)
