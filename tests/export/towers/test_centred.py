"""A tower whose rows have mean 0 is the same function, with norms that take no mean."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conaclip_edge.export.towers.centred import centred
from conaclip_edge.export.towers.layers import Block
from conaclip_edge.export.towers.towers import build_towers
from tests.helpers.small_students import pictures, student, text


@pytest.fixture(scope="module")
def towers():
    """The towers of a student whose norms and biases are not those that training begins with."""
    model = student("vit", "gelu")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return build_towers(model, "vit")


@pytest.mark.parametrize("name", ["image", "text"])
def test_a_centred_tower_is_the_same_function(towers, name):
    inputs = pictures(3) if name == "image" else torch.tensor([text(9), text(9, seed=1)], dtype=torch.int32)
    torch.testing.assert_close(centred(towers[name])(inputs), towers[name](inputs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["image", "text"])
def test_no_block_of_a_centred_tower_takes_a_mean(towers, name):
    blocks = [block for block in centred(towers[name]).modules() if isinstance(block, Block)]
    assert blocks
    assert all(isinstance(norm, nn.RMSNorm) for block in blocks for norm in (block.norm1, block.norm2))


def test_a_tower_of_convolutions_stays_as_it_is():
    tower = build_towers(student("mobile"), "mobile").image
    assert centred(tower) is tower
