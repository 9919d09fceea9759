"""Blocks of an image transformer compute in int8 throughout on XNNPACK, and give what the float blocks give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from executorch.backends.xnnpack.utils.quant_utils import is_tagged_as_implicit_q_dq
from executorch.exir import to_edge
from torch import nn
from torch.nn import functional as F

from conaclip_edge.export.executorch.export import lower
from conaclip_edge.export.executorch.grids import Grid
from conaclip_edge.export.executorch.partitioner import xnnpack_partitioner
from conaclip_edge.export.executorch.static_block import StaticBlock
from conaclip_edge.export.executorch.xnnpack_modules import Int8Patches
from conaclip_edge.export.quantize.activation_budget import Activation
from conaclip_edge.export.quantize.static_blocks import XNNPACK, static_ranges
from conaclip_edge.export.towers.centred import centred
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.models.quantization.record import ActivationGrid
from conaclip_edge.runtime.executorch_tower import ExecutorchTower
from tests.helpers.small_students import calibration, pictures, student

STEP = 30 / 255


class GeluOfProduct(nn.Module):
    """A product of two int8 tensors, and GELU of it."""

    def __init__(self):
        super().__init__()
        self.factor = Grid(ActivationGrid(scale=4 / 127, zero_point=128))
        self.product = Grid(ActivationGrid(scale=STEP, zero_point=100))
        self.hidden = Grid(ActivationGrid(scale=STEP, zero_point=2))

    def forward(self, x):
        """Map [1, n, n] to itself."""
        a, b = self.factor.whole(x), self.factor.whole(-x)
        product = self.product.whole(torch.bmm(self.factor.real(a), self.factor.real(b)))
        return self.hidden.real(self.hidden.whole(F.gelu(self.product.real(product))))


def test_products_and_gelu_between_grids_run_in_int8(tmp_path):
    torch.manual_seed(0)
    module, x = GeluOfProduct().eval(), torch.randn(1, 8, 8)
    edge = to_edge(torch.export.export(module, (x,))).exported_program()
    xnnpack_partitioner().partition(edge)
    inside = [node for node in edge.graph.nodes if is_tagged_as_implicit_q_dq(node)]
    assert len(inside) == 5  # two factors, their product, what GELU reads and what it gives
    program, delegates, left_over = lower(module, x, None, xnnpack_partitioner())
    assert (delegates, left_over) == (1, {})
    (tmp_path / "products.pte").write_bytes(program)
    found = ExecutorchTower(tmp_path / "products.pte")(x.numpy())
    assert found.max() > 10 * STEP
    np.testing.assert_allclose(found, module(x).numpy(), atol=1.01 * STEP)  # sums that lie half-way between two steps


def test_a_static_block_gives_what_the_float_one_gives_for_all_rows_and_for_the_pooled_one():
    towers = build_towers(student("vit", "gelu"), "vit")
    towers = replace(towers, image=centred(towers.image))
    block = towers.image.blocks[0]
    static = StaticBlock(block, "blocks.0", static_ranges(towers, calibration(), XNNPACK))
    seen = []
    with block.register_forward_pre_hook(lambda _, given: seen.append(given[0])):
        towers.image(next(calibration().images(4)))
    exact, found = block(seen[0]) - seen[0], static(seen[0]) - seen[0]  # what the block adds to its rows
    assert F.cosine_similarity(exact, found, dim=-1).min() > 0.99
    torch.testing.assert_close(static(seen[0], pool=lambda rows: rows[:, :1]), static(seen[0])[:, :1])


def test_patches_are_convolved_as_rows_of_a_linear_layer():
    torch.manual_seed(0)
    conv, x = nn.Conv2d(3, 12, 8, stride=8), pictures(2)[:, :, :, :27]  # the last columns are no whole patch
    exact, found = conv(x), Int8Patches(conv, Activation("dynamic"))(x)
    assert found.shape == exact.shape
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)
