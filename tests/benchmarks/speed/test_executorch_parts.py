"""The axis parts: what is taken out of the tower is gone, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from conaclip_edge.benchmarks.speed.axes import executorch_parts
from conaclip_edge.benchmarks.speed.two_clocks import Times
from conaclip_edge.export.towers.towers import image_tower
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.runtime.open_tower import open_tower
from tests.helpers.small_students import student

LEFT = {executorch_parts.WHOLE: (), **executorch_parts.LEFT_OUT}


@pytest.fixture
def model() -> DualEncoder:
    """A student with a small ViT of random weights."""
    return student("vit")


def calls_of(tower, pixels) -> list[str]:
    traced = torch.export.export(tower, (pixels,))
    return [str(node.target) for node in traced.graph.nodes if node.op == "call_function"]


def test_each_tower_lacks_its_part_and_keeps_every_int8_product(model) -> None:
    size = model.config.image.size
    pixels = torch.rand(1, 3, size, size)
    operations = {name: calls_of(executorch_parts.shortened(model, left)[0], pixels) for name, left in LEFT.items()}
    count = {
        name: {kind: sum(kind in one for one in found) for kind in ("linear", "softmax", "bmm", "layer_norm", "gelu")}
        for name, found in operations.items()
    }
    whole = count[executorch_parts.WHOLE]
    assert all(whole.values())
    assert {found["linear"] for found in count.values()} == {whole["linear"]}
    assert (count["attention"]["softmax"], count["attention"]["bmm"]) == (0, 0)
    assert count["attention"]["layer_norm"] == whole["layer_norm"]
    assert count["GELU"] == whole | {"gelu": 0}
    # the norms before the first and after the last block stay
    assert count["norms"] == whole | {"layer_norm": 2}
    assert count["all but the int8 products"] == {
        "linear": whole["linear"],
        "softmax": 0,
        "bmm": 0,
        "layer_norm": 2,
        "gelu": 0,
    }


def test_the_whole_tower_is_the_exported_one_up_to_its_first_blocks(model) -> None:
    tower, size = executorch_parts.shortened(model, ())
    exported = image_tower(model)
    pixels = torch.rand(2, 3, size, size)
    assert len(exported.blocks) <= executorch_parts.BLOCKS  # of the small student all blocks are taken
    assert torch.equal(tower(pixels), exported(pixels))


def test_the_lowered_towers_run_and_each_has_a_ratio(model, tmp_path) -> None:
    left_out = {"norms": ("norms",)}  # one of them: lowering takes seconds for each
    files = executorch_parts.lower_without_parts(model, tmp_path, left_out)
    assert set(files) == {executorch_parts.WHOLE, "norms"}
    size = model.config.image.size
    given = torch.rand(1, 3, size, size).numpy()
    for path in files.values():
        assert open_tower(path)(given).shape == (1, model.config.embed_dim)

    def timer(calls: dict[str, Any], count: int, seed: int) -> dict[str, Times]:
        return {name: Times(np.full(count, 3.0 if name == "norms" else 4.0), np.ones(count)) for name in calls}

    (found,) = executorch_parts.measure(tmp_path, files, [given], 3, 0, timer)
    assert found.what == "image ExecuTorch int8 without norms / whole"
    assert found.value.median == 0.75
