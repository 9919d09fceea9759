from __future__ import annotations

import numpy as np

from conaclip_edge.benchmarks.measure.cold_start import load_files, measure_cold_start
from conaclip_edge.benchmarks.measure.models import Spec
from tests.helpers.benchmarks.small_towers import picture_tower, text_tower

PIXELS = np.zeros((1, 3, 4, 4), dtype=np.float32)
IDS = np.asarray([[2, 5, 3]], dtype=np.int32)


def test_a_larger_file_costs_as_much_more_memory_and_the_small_one_beside_it_does_not(tmp_path):
    heavy = picture_tower(tmp_path / "image.fp32.onnx", ballast=80_000_000)
    spec = Spec("row", "files", str(tmp_path), heavy, text_tower(tmp_path / "text.fp32.onnx"))
    found = measure_cold_start(spec, {"image": PIXELS, "text": IDS}, loads=1)
    memory = found.memory
    assert memory.image is not None
    assert memory.text is not None
    assert memory.image - memory.runtime > 80_000_000
    assert memory.text - memory.runtime < 40_000_000
    assert memory.both >= memory.image
    assert set(found.towers) == {"image", "text"}


def test_loading_and_the_first_call_are_timed_apart_in_the_order_of_the_files(tmp_path):
    heavy, light = picture_tower(tmp_path / "heavy.onnx", ballast=80_000_000), picture_tower(tmp_path / "light.onnx")
    load_files([light], [PIXELS], 1)  # imports the runtime
    steps, before = load_files([light, heavy], [PIXELS, PIXELS], 1)
    assert steps[1].load > steps[0].load > 0
    assert steps[0].first > 0
    assert before <= steps[0].peak <= steps[1].peak


def test_a_tower_that_cannot_be_run_is_left_out(tmp_path):
    spec = Spec("row", "files", str(tmp_path), picture_tower(tmp_path / "image.fp32.onnx"), None)
    found = measure_cold_start(spec, {"image": PIXELS, "text": IDS}, loads=1)
    assert set(found.towers) == {"image"}
    assert found.memory.text is None
    assert found.memory.both == found.memory.image
