"""quantization.json is read as it was written, and one that does not fit is refused in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conaclip_edge.errors import UserError
from conaclip_edge.models.quantization.record import (
    QUANTIZATION,
    ActivationGrid,
    Quantization,
    TowerQuantization,
    read_quantization,
    write_quantization,
)
from conaclip_edge.models.quantization.sites import image_sites
from tests.helpers.small_students import MOBILE


def quantization() -> Quantization:
    grids = {
        site: ActivationGrid(scale=float(np.float32(1 / (57 + number))), zero_point=0 if kind == "relu6" else number)
        for number, (site, kind) in enumerate(image_sites(MOBILE).items())
    }
    return Quantization(image=TowerQuantization(activations=grids))


def changed(folder: Path, change: Any) -> None:
    """Write the file with its grids changed."""
    write_quantization(quantization(), folder)
    content = json.loads((folder / QUANTIZATION).read_text("utf-8"))
    change(content["image"]["activations"])
    (folder / QUANTIZATION).write_text(json.dumps(content), "utf-8")


def test_a_record_is_read_to_the_last_bit(tmp_path: Path) -> None:
    write_quantization(quantization(), tmp_path)
    assert read_quantization(tmp_path, MOBILE) == quantization()


def test_sites_keep_their_order(tmp_path: Path) -> None:
    write_quantization(quantization(), tmp_path)
    found = read_quantization(tmp_path, MOBILE)
    assert found is not None
    assert list(found.image.activations) == list(image_sites(MOBILE))


def test_a_folder_without_the_file_has_none(tmp_path: Path) -> None:
    assert read_quantization(tmp_path, MOBILE) is None


def test_a_missing_grid_is_named(tmp_path: Path) -> None:
    changed(tmp_path, lambda grids: grids.pop("stem"))
    with pytest.raises(UserError, match=r"quantization.json has no grid of 'stem'\. Take it and model\.safetensors"):
        read_quantization(tmp_path, MOBILE)


def test_a_grid_of_another_tower_is_named(tmp_path: Path) -> None:
    changed(tmp_path, lambda grids: grids.update({"blocks.9.expand": grids["stem"]}))
    with pytest.raises(UserError, match=r"has a grid of 'blocks\.9\.expand', which the image tower does not have"):
        read_quantization(tmp_path, MOBILE)


@pytest.mark.parametrize(
    "wrong",
    [{"scale": 0.0}, {"scale": -1.0}, {"scale": float("inf")}, {"zero_point": 256}, {"zero_point": 0.5}, {"bits": 4}],
)
def test_a_grid_that_is_none_is_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    changed(tmp_path, lambda grids: grids["pooled"].update(wrong))
    with pytest.raises(UserError, match=rf"quantization\.json.*{next(iter(wrong))}"):
        read_quantization(tmp_path, MOBILE)


@pytest.mark.parametrize("wrong", [{"zero_point": 3}, {"scale": 0.03}])
def test_a_relu6_grid_beyond_0_to_6_is_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    changed(tmp_path, lambda grids: grids["stem"].update(wrong))
    with pytest.raises(UserError, match="'stem' is a ReLU6, from 0 to 6, and its grid goes beyond"):
        read_quantization(tmp_path, MOBILE)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / QUANTIZATION).write_text("{", "utf-8")
    with pytest.raises(UserError, match="cannot read quantization record"):
        read_quantization(tmp_path, MOBILE)
