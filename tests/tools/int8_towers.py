"""arm64 instructions of presets' image towers in int8: the table of docs/results/export.md.

    python tests/tools/int8_towers.py PRESET... --out distill/results/int8-towers.json

Counts do not depend on what a tower has learned. So each starts from EfficientNet-Lite0's weights, is fitted to int8 on
random pictures as int8 steps begin, written for onnxruntime and ExecuTorch, and run on the emulated processor of
docs/guides/emulated.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch

from conaclip_edge.config.distill import QatConfig
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.executorch.export import lower
from conaclip_edge.export.executorch.partitioner import xnnpack_partitioner
from conaclip_edge.export.executorch.static_image import StaticImageTower
from conaclip_edge.export.onnx.graph_builder import Graph
from conaclip_edge.export.onnx.towers import image_model
from conaclip_edge.export.quantize.sensitivity import int8_layers
from conaclip_edge.export.towers.towers import MobileTower, Towers, build_towers
from conaclip_edge.models.image_towers.mobile import MobileBackbone
from conaclip_edge.models.quantization.post_training import quantize_after_training
from conaclip_edge.models.quantization.record import Quantization
from conaclip_edge.models.student.checkpoint import parameter_counts
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.presets import PRESETS
from conaclip_edge.runtime.emulated.devices import find_device
from conaclip_edge.runtime.emulated.run_tower import run_tower
from conaclip_edge.system.files import write_json
from conaclip_edge.system.progress import quiet

PICTURES, WIDTH = 32, 256  # that a tower is fitted to; of the embedding, the demo's


def main() -> None:
    """Write one entry per preset."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("presets", nargs="+", choices=sorted(PRESETS))
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    device = find_device("arm64")
    write_json(asked.out, {"device": device.label, "presets": {name: entry(name) for name in asked.presets}})


def entry(name: str) -> dict[str, Any]:
    """Return the size of a preset's image tower, and the instructions of one picture by kind of file."""
    torch.manual_seed(0)
    model = DualEncoder(PRESETS[name].model_copy(update={"embed_dim": WIDTH})).eval()
    assert isinstance(model.image.backbone, MobileBackbone)
    model.image.backbone.start_pretrained()
    size = model.config.image.size
    pictures = torch.randint(0, 256, (PICTURES, 3, size, size), dtype=torch.uint8)
    fitted = quantize_after_training(model.image, pictures / 255, QatConfig().prune)
    fitted.write_to(model.image)
    towers = build_towers(model, name, Quantization(image=fitted.grids))
    kinds = torch.nn.Conv2d | torch.nn.Linear
    parameters = parameter_counts(model)["image"]
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in written(towers, Path(folder)):
            run = run_tower(find_device("arm64"), path, pictures[:1].numpy(), counted=0)
            assert run.instructions is not None
            files[path.suffix] = {
                "instructions": run.instructions.median,
                "counts": run.instructions.per_call,
                "of_float32": round(path.stat().st_size / (4 * parameters), 4),
            }
    layers = sum(isinstance(module, kinds) for module in towers.image.modules())
    return {"parameters": parameters, "layers": layers, "files": files}


def written(towers: Towers, folder: Path) -> list[Path]:
    """Write the image tower for onnxruntime and for ExecuTorch."""
    assert isinstance(towers.image, MobileTower)
    assert towers.image_grids is not None
    files = [folder / "image.int8.onnx", folder / "image.int8.pte"]
    int8 = frozenset(layer.removesuffix(".conv") for layer in int8_layers(towers, "image"))
    opset = int(ExportConfig.model_fields["opset"].default)
    onnx.save(image_model(towers, Graph(False, int8, opset, batch=1), towers.name), files[0])
    module = StaticImageTower(towers.image, towers.image_grids).eval().requires_grad_(False)
    with quiet():
        example = torch.zeros(1, 3, towers.image_size, towers.image_size)
        files[1].write_bytes(lower(module, example, None, xnnpack_partitioner()).program)
    return files


if __name__ == "__main__":
    main()
