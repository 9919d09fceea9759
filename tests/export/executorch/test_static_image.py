"""An ExecuTorch program of an image tower on fixed grids: one delegate, and what integers compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.executorch.export import export
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.runtime.open_tower import open_tower
from tests.helpers.small_students import calibration, drawings, int8_student
from tests.oracles import int8_tower

pytestmark = pytest.mark.usefixtures("no_other_delegates")
PIXELS = (drawings(6, seed=9) / 255.0).numpy()


def test_a_program_on_grids_is_one_delegate_that_gives_what_integers_give(tmp_path: Path) -> None:
    towers = build_towers(int8_student()[0], "q", int8_student()[1])
    notes = export(towers, calibration(), ExportConfig(target="executorch"), tmp_path)
    assert (notes["image"]["delegates"], notes["image"]["left_over"]) == (1, {})
    found = open_tower(tmp_path / "image.int8.pte")(PIXELS)
    wanted = int8_tower.embeddings(towers.image, dict(towers.image_grids or {}), PIXELS.astype(np.float64))
    # XNNPACK adds residuals in fixed point: what lies half-way between two steps may go to the other one
    assert (found * wanted).sum(axis=1).min() > 0.9995
