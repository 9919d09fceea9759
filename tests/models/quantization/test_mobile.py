"""The tower that trains computes what integers compute, and leaves its weights in the float tower."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from conaclip_edge.errors import UserError
from conaclip_edge.export.towers.towers import MobileTower, image_tower
from conaclip_edge.models.quantization.int8_weights import int8_values
from conaclip_edge.models.quantization.mobile import Int8MobileTower
from conaclip_edge.models.quantization.post_training import quantize_after_training
from conaclip_edge.models.student.dual_encoder import DualEncoder
from tests.helpers.small_students import drawings, student
from tests.oracles import int8_tower

PIXELS = drawings(6, seed=4) / 255.0


@functools.cache
def fitted() -> Int8MobileTower:
    return quantize_after_training(student("mobile").image, drawings(48, seed=1) / 255.0).requires_grad_(False)


@functools.cache
def written() -> DualEncoder:
    """The float student that an int8 tower was written to."""
    model = student("mobile", seed=3)
    fitted().write_to(model.image)
    return model


def with_frozen_blocks(count: int) -> Int8MobileTower:
    model = copy.deepcopy(written())
    model.image.backbone.freeze(count)
    tower = Int8MobileTower(model.image)
    tower.grids = fitted().grids
    return tower


def test_every_site_is_what_integers_give_there() -> None:
    tower, grids = image_tower(written()), fitted().grids.activations
    assert isinstance(tower, MobileTower)
    found: dict[str, np.ndarray] = {}
    for name, grid in grids.items():
        fitted().site(name).register_forward_hook(
            lambda _, __, steps, name=name, grid=grid: found.update({name: steps.long().numpy() + grid.zero_point})
        )
    fitted()(PIXELS)
    wanted = int8_tower.run(tower, grids, PIXELS.numpy().astype(np.float64), found)
    assert list(wanted) == list(found) == list(grids)
    for name, integers in wanted.items():
        off = np.abs(found[name] - integers)
        assert off.max() <= 1, name
        assert (off > 0).mean() < 0.01, f"{name}: only what lies half-way between two steps may be rounded otherwise"


def test_a_float_tower_takes_the_weights_and_the_same_int8_tower_comes_of_it() -> None:
    again = Int8MobileTower(written().image)
    again.grids = fitted().grids
    assert torch.equal(again(PIXELS), fitted()(PIXELS))


def test_an_exporter_finds_every_weight_on_the_int8_grid() -> None:
    layers = dict(image_tower(written()).named_modules())
    for name, layer in fitted().named_modules():
        if hasattr(layer, "sums"):
            values, scale = int8_values(layers[f"{name}.conv"].weight)
            torch.testing.assert_close(values * scale, layers[f"{name}.conv"].weight, rtol=1e-5, atol=0)


@pytest.mark.parametrize("frozen", [1, 3])
def test_frozen_blocks_split_the_tower_and_keep_what_it_gives(frozen: int) -> None:
    tower = with_frozen_blocks(frozen)
    assert torch.equal(tower.rest(tower.first(PIXELS)), fitted()(PIXELS))


def test_all_weights_learn_but_those_of_frozen_blocks() -> None:
    tower = with_frozen_blocks(2)
    F.normalize(tower.rest(tower.first(PIXELS)), dim=-1)[:, 0].sum().backward()
    learning = {name for name, value in tower.named_parameters() if value.grad is not None and value.grad.any()}
    still = {name for name, _ in tower.named_parameters() if name.startswith(("stem", "blocks.0.", "blocks.1."))}
    assert learning == {name for name, _ in tower.named_parameters()} - still


def test_channels_that_are_nothing_beside_their_bias_leave_room_for_it_in_an_int32() -> None:
    model = student("mobile")
    with torch.no_grad():
        model.image.backbone.stem.conv.weight[2] *= 1e-12
    tower = quantize_after_training(model.image, PIXELS)
    for layer, given in tower.convolutions():
        step = given.scale * int8_values(layer.weight)[1].flatten()
        assert (layer.bias.abs() / step).max() < 2**30
    assert not tower.stem.weight[2].any()


def test_a_transformer_has_no_such_form() -> None:
    with pytest.raises(UserError, match="image tower 'vit' has no int8 form"):
        Int8MobileTower(student("vit").image)
