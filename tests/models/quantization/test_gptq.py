"""Rounding columns: the error of what a layer gives is kept small, not that of its weights."""

from __future__ import annotations

import torch

from conaclip_edge.models.quantization.gptq import round_columns, to_half
from conaclip_edge.models.quantization.int8_weights import round_weight, weight_scale


def test_columns_that_know_nothing_of_each_other_are_rounded_to_the_nearest() -> None:
    weight = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(0))
    made = round_columns(weight, torch.eye(9).expand(2, 9, 9))
    torch.testing.assert_close(made, torch.stack([round_weight(one) for one in weight]))


def test_two_columns_that_always_agree_share_their_error() -> None:
    weight = torch.tensor([[[1.0, 0.4 / 127, 0.4 / 127]]])
    power = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.999], [0.0, 0.999, 1.0]]])
    steps = round_columns(weight, power)[0, 0] * 127
    # each alone would be 0; together they are 0.8 of a step
    assert sorted(steps[1:].round().tolist()) == [0, 1]


def test_scales_are_found_again_in_float16() -> None:
    weight = torch.randn(1, 400, 8, generator=torch.Generator().manual_seed(3))
    made = round_columns(weight, torch.eye(8)[None], half=True)[0]
    scale = to_half(weight_scale(made))
    assert torch.equal(to_half(torch.round(made / scale) * scale), made)
