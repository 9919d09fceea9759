"""arm64 instructions of int8 students' image towers: tables of docs/results/export.md.

    python -m tests.tools.int8_towers runs/int8/*-s0-int8 --out distill/results/int8-towers.json

Each student has `quantization.json`. Its image tower is written for onnxruntime and ExecuTorch, and run on the emulated
processor of docs/guides/emulated.md, on a random picture: what it shows does not matter.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.executorch.export import lower
from conaclip_edge.export.executorch.partitioner import xnnpack_partitioner
from conaclip_edge.export.executorch.static_image import StaticImageTower
from conaclip_edge.export.onnx.graph_builder import Graph
from conaclip_edge.export.onnx.ort_format import save_ort
from conaclip_edge.export.onnx.towers import image_model
from conaclip_edge.export.quantize.sensitivity import int8_layers
from conaclip_edge.export.towers.towers import MobileTower, Towers, build_towers
from conaclip_edge.models.student.checkpoint import load_student, parameter_counts
from conaclip_edge.models.student.folder import read_training
from conaclip_edge.runtime.emulated.devices import find_device
from conaclip_edge.runtime.emulated.run_tower import run_tower
from conaclip_edge.system.files import write_json
from conaclip_edge.system.progress import quiet


def main() -> None:
    """Write one entry per student."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("students", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    entries = [entry(folder) for folder in asked.students]
    write_json(asked.out, {"device": find_device("arm64").label, "students": entries})


def entry(folder: Path) -> dict[str, Any]:
    """Return the size of a student's image tower, and the instructions of one picture by kind of file."""
    student, recipe = load_student(folder), read_training(folder)["recipe"]
    towers = build_towers(student.model, folder.name, student.quantization)
    size = towers.image_size
    picture = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    parameters = parameter_counts(student.model)["image"]
    files = {}
    with tempfile.TemporaryDirectory() as scratch:
        for path in written(towers, Path(scratch)):
            run = run_tower(find_device("arm64"), path, picture.numpy(), counted=0)
            assert run.instructions is not None
            files[path.suffix] = {
                "instructions": run.instructions.median,
                "counts": run.instructions.per_call,
                "of_float32": round(path.stat().st_size / (4 * parameters), 4),
            }
    assert isinstance(towers.image, MobileTower)
    kinds = torch.nn.Conv2d | torch.nn.Linear
    return {
        "preset": recipe["student"]["preset"],
        "seed": recipe["seed"],
        "prune": recipe["train"]["qat"]["prune"],
        "parameters": parameters,
        "layers": sum(isinstance(module, kinds) for module in towers.image.modules()),
        "inner_channels": [block.depthwise.conv.in_channels for block in towers.image.blocks],
        "files": files,
    }


def written(towers: Towers, folder: Path) -> list[Path]:
    """Write the image tower for onnxruntime, in both its formats, and for ExecuTorch."""
    assert isinstance(towers.image, MobileTower)
    assert towers.image_grids is not None
    model, program = folder / "image.int8.onnx", folder / "image.int8.pte"
    int8 = frozenset(layer.removesuffix(".conv") for layer in int8_layers(towers, "image"))
    opset = int(ExportConfig.model_fields["opset"].default)
    onnx.save(image_model(towers, Graph(False, int8, opset, batch=1), towers.name), model)
    module = StaticImageTower(towers.image, towers.image_grids).eval().requires_grad_(False)
    with quiet():
        example = torch.zeros(1, 3, towers.image_size, towers.image_size)
        program.write_bytes(lower(module, example, None, xnnpack_partitioner()).program)
    return [model, *save_ort({model: "ORT_ENABLE_ALL"}), program]


if __name__ == "__main__":
    main()
