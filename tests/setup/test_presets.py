"""`presets`: what it counts from a shape is what the built model has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.utils.flop_counter import FlopCounterMode

from conaclip_edge.errors import UserError
from conaclip_edge.models.student.checkpoint import parameter_counts
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.presets import PRESET_USES, PRESETS
from conaclip_edge.setup.count_operations import image_counts, text_counts
from conaclip_edge.setup.presets import QUERY_IDS, preset_list, presets_text
from tests.helpers.command_line import Run
from tests.helpers.tiny import teacher_folder


@pytest.mark.parametrize("name", ["demo", "mobile", "vit-s16-text2l"])
def test_parameters_are_those_of_the_model(name: str) -> None:
    shape = PRESETS[name]
    with torch.device("meta"):
        built = parameter_counts(DualEncoder(shape))
    image, text = image_counts(shape.image, shape.embed_dim), text_counts(shape.text, shape.embed_dim)
    assert image is not None
    assert (image.parameters, text.parameters) == (built["image"], built["text"])


@pytest.mark.parametrize("name", ["demo", "vit-s16-text2l"])
def test_multiply_adds_are_those_that_torch_counts(name: str) -> None:
    shape = PRESETS[name]
    with torch.device("meta"):
        model = DualEncoder(shape).eval()
        pixels, ids = torch.zeros(1, 3, shape.image.size, shape.image.size), torch.zeros(1, QUERY_IDS).int()
    counted = []
    for tower, given in ((model.image, pixels), (model.text, ids)):
        with FlopCounterMode(display=False) as counter:
            tower(given)
        counted.append(counter.get_total_flops() / 2)
    image, text = image_counts(shape.image, shape.embed_dim), text_counts(shape.text, shape.embed_dim, QUERY_IDS)
    assert image is not None
    assert [image.multiply_adds, text.multiply_adds] == pytest.approx(counted, rel=0.02)


def test_every_preset_says_what_it_is_for() -> None:
    assert PRESET_USES.keys() == PRESETS.keys()


def test_the_command_lists_all_the_smallest_first(run: Run) -> None:
    code, out, err = run("presets", "--json")
    assert code == 0, err
    found = json.loads(out)
    names = [preset["name"] for preset in found["presets"]]
    assert sorted(names) == sorted(PRESETS)
    assert names[:4] == ["mobile-int8-s", "demo", "mobile-int8-m", "mobile"]
    assert all(preset["int8_bytes"] < preset["float32_bytes"] / 3 for preset in found["presets"])
    assert "teacher's" in found["embedding"]


def test_the_table_names_what_comes_next_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['conaclip-edge', 'presets']\n"
        "from conaclip_edge.cli.main import app\n"
        "try: app()\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("preset")
    assert lines[-2].startswith("Next: conaclip-edge init")
    assert lines[-1] == "False"


def test_presets_that_are_not_smaller_than_the_teacher_are_named_once(tmp_path: Path) -> None:
    found = preset_list(teacher_folder(tmp_path / "teacher"))  # smaller than every preset
    names = ", ".join(preset.name for preset in found.presets)
    (line,) = [line for line in presets_text(found).splitlines() if "Warning" in line]
    assert line.startswith("Warning: not smaller than the teacher (")
    assert line.endswith(f": {names}. Take a larger teacher.")
    assert "Warning" not in presets_text(preset_list())


def test_a_preset_that_is_smaller_than_the_teacher_is_not_named(tmp_path: Path) -> None:
    small, *others = preset_list().presets
    save_file(
        {"weight": np.zeros(small.image_parameters + small.text_parameters + 1, np.int8)},
        tmp_path / "model.safetensors",
    )
    warning = preset_list(tmp_path).warning
    assert f"{small.name}, " not in warning
    assert all(preset.name in warning for preset in others)
    assert warning.endswith("Take a smaller preset, or a larger teacher.")


def test_a_folder_without_weights_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no teacher at"):
        preset_list(tmp_path)
