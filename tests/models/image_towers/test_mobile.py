"""The mobile tower is EfficientNet-Lite0 where it has its stages and weights: the package's own model is the oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.models.image_towers.lite0 import LITE0, LITE0_STAGES, lite0_weights
from conaclip_edge.models.image_towers.mobile import MobileBackbone, from_lite0
from conaclip_edge.models.teacher.packaged_towers import lite0


@pytest.fixture(scope="module", name="tower")
def _tower() -> MobileBackbone:
    return lite0()


def oracle(height: int, width: int) -> Any:
    """The package's model, whose paddings are made for one picture size."""
    model = EfficientNet.from_name("efficientnet-lite0", image_size=(height, width))
    model.load_state_dict(lite0_weights())
    return model.eval()


def pixels(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(height + width))


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 160), (224, 224)])
def test_features_are_exactly_those_of_the_package(tower: MobileBackbone, height: int, width: int) -> None:
    maps = oracle(height, width).extract_features(pixels(height, width))
    features = tower(pixels(height, width))
    assert features.shape == (2, 1280)
    assert maps.max() > 0.1
    torch.testing.assert_close(features, maps.mean(dim=(2, 3)), rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("stages", [1, 4])
def test_the_first_stages_alone_are_the_package_s_first_blocks(stages: int) -> None:
    config = ImageTowerConfig(kind="mobile", width=32, stages=LITE0_STAGES[:stages])
    tower = MobileBackbone(config).eval()
    from_lite0(lite0_weights(), tower)
    assert tower.features == LITE0_STAGES[stages - 1][1]

    model, seen = oracle(64, 64), []
    last = sum(repeats for _, _, repeats, _, _ in LITE0_STAGES[:stages]) - 1
    model._blocks[last].register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.extract_features(pixels(64, 64))
    torch.testing.assert_close(tower(pixels(64, 64)), seen[0].mean(dim=(2, 3)), rtol=0, atol=0)


@torch.no_grad()
def test_a_stage_of_fewer_blocks_starts_from_its_first_ones() -> None:
    config = ImageTowerConfig(kind="mobile", width=32, stages=((1, 16, 1, 3, 1), (6, 24, 1, 3, 2), (6, 40, 1, 5, 2)))
    tower = MobileBackbone(config).eval()
    from_lite0(lite0_weights(), tower)
    model = oracle(64, 64)
    for kept, source in enumerate((0, 1, 3)):  # Lite0's second stage is its blocks 1 and 2
        wanted = model._blocks[source]._depthwise_conv.weight
        torch.testing.assert_close(tower.blocks[kept].depthwise.conv.weight, wanted, rtol=0, atol=0)


def test_every_weight_comes_from_the_package() -> None:
    """No weight keeps its random start, and none but the classifier's is left over."""
    tower, given = MobileBackbone(LITE0), lite0_weights()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.fill_(float("nan"))
    from_lite0(given, tower)
    assert all(bool(value.isfinite().all()) for value in tower.state_dict().values())
    counted = [value for name, value in given.items() if "running" not in name and not name.startswith("_fc.")]
    batches = [value for name, value in given.items() if name.endswith("num_batches_tracked")]
    assert sum(value.numel() for value in tower.parameters()) == sum(v.numel() for v in counted) - len(batches)


def test_too_many_blocks_are_refused() -> None:
    tower = MobileBackbone(ImageTowerConfig(kind="mobile", width=32, stages=(*LITE0_STAGES, (6, 320, 1, 3, 1))))
    with pytest.raises(KeyError, match=r"_blocks\.16"):
        from_lite0(lite0_weights(), tower)


@torch.no_grad()
def test_statistics_of_batches_are_kept_up_with_in_a_short_training() -> None:
    chance = torch.Generator().manual_seed(0)
    tower = MobileBackbone(ImageTowerConfig(kind="mobile", width=8, stages=LITE0_STAGES[:1]))
    batches = [3 + 2 * torch.randn(32, 3, 16, 16, generator=chance) for _ in range(60)]
    tower.train()
    for batch in batches:
        tower(batch)
    seen = tower(torch.cat(batches))  # by the statistics of all that was shown
    torch.testing.assert_close(tower.eval()(torch.cat(batches)), seen, rtol=0.05, atol=0.02)
