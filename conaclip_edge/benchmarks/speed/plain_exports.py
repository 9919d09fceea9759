"""What the speed suite compares the exported files with: the same student by the toolchains' own guides, and CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conaclip_edge.benchmarks.measure.plain_exports import plain_towers, quiet_exporter

Files = dict[str, Path]


def plain_onnx_files(checkpoint: Path, folder: Path) -> Files:
    """Export a student with torch.onnx.export, and quantize_dynamic with its defaults.

    Returns:
        "image fp32", "image int8", "text fp32", "text int8" (both at any length): files in `folder`.
    """
    from onnxruntime.quantization import quantize_dynamic

    files: Files = {}
    for tower, (module, example) in plain_towers(checkpoint).items():
        context = example.shape[1]
        lengths = {1: torch.export.Dim("length", min=2, max=context)} if tower == "text" else {}
        exact, small = folder / f"{tower}.fp32.onnx", folder / f"{tower}.int8.onnx"
        # an even length in the middle: the full context would become a constant of the graph
        example = example[:, : context // 2] if tower == "text" else example
        with quiet_exporter():
            write_onnx(module, example, exact, (lengths,))
            quantize_dynamic(exact, small)
        files |= {f"{tower} fp32": exact, f"{tower} int8": small}
    return files


def write_onnx(module: nn.Module, example: Tensor, path: Path, shapes: Any = None) -> None:
    """Export with torch.onnx.export's defaults to one file."""
    torch.onnx.export(module, (example,), path, dynamo=True, external_data=False, dynamic_shapes=shapes, verbose=False)


def plain_executorch_files(checkpoint: Path, folder: Path) -> Files:
    """Export a student as it is (SDPA attention) with XNNPACK's dynamic int8 linear layers, as ExecuTorch's guide does.

    Returns:
        "image int8", "text int8" (padded to the context): files in `folder`.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    files: Files = {}
    for tower, (module, example) in plain_towers(checkpoint).items():
        path = folder / f"{tower}.int8.pte"
        with quiet_exporter():
            quantizer = XNNPACKQuantizer().set_module_type(
                nn.Linear, get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
            )
            prepared = prepare_pt2e(torch.export.export(module, (example,)).module(), quantizer)
            prepared(example)
            program = torch.export.export(convert_pt2e(prepared), (example,))
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            path.write_bytes(lowered.to_executorch().buffer)
        files[f"{tower} int8"] = path
    return files


class _ClipPictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        from transformers import CLIPConfig, CLIPModel

        torch.manual_seed(0)
        self.model = CLIPModel(CLIPConfig()).eval()

    def forward(self, pixel_values: Tensor) -> Tensor:
        features: Tensor = self.model.get_image_features(pixel_values=pixel_values).pooler_output
        return features


def clip_onnx(folder: Path) -> Files:
    """Export the shape of CLIP ViT-B/32's image tower, random weights, in float32.

    Returns:
        "clip image fp32", and the bytes that its text tower's parameters take are in `clip_text_bytes`.
    """
    path = folder / "clip-image.fp32.onnx"
    with quiet_exporter():
        write_onnx(_ClipPictures(), torch.zeros(1, 3, 224, 224), path)
    return {"clip image fp32": path}


def clip_text_bytes() -> int:
    """Return the bytes of the float32 parameters of CLIP ViT-B/32's text tower with its projection."""
    from transformers import CLIPConfig, CLIPModel

    with torch.device("meta"):
        model = CLIPModel(CLIPConfig())
    return 4 * sum(int(value.numel()) for name, value in model.named_parameters() if name.startswith("text"))
