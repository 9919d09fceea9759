"""Export to ExecuTorch: one .pte file a tower, on XNNPACK or, for Apple devices, on the Core ML delegate."""

from __future__ import annotations

import collections
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.exir.passes import remove_unused_parameters_pass
from torch import Tensor, nn

from conaclip_edge.bundle.card.accelerators import NOTE
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.accelerators.executorch_nodes import executorch_accelerators
from conaclip_edge.export.executorch.fit_xnnpack import fit_xnnpack
from conaclip_edge.export.executorch.partitioner import xnnpack_partitioner
from conaclip_edge.export.executorch.static_image import StaticImageTower
from conaclip_edge.export.quantize.activation_budget import choose_activations
from conaclip_edge.export.quantize.calibration import Calibration
from conaclip_edge.export.quantize.prepare import STATIC, on_grids, prepare
from conaclip_edge.export.quantize.static_blocks import XNNPACK, blocks_of, static_ranges
from conaclip_edge.export.targets import find_target
from conaclip_edge.export.towers.centred import centred
from conaclip_edge.export.towers.towers import MobileTower, Towers
from conaclip_edge.system.progress import quiet

NAMES = ("image", "text")


class Lowered(NamedTuple):
    """A program for ExecuTorch.

    Attributes:
        program: content of a .pte file.
        delegates: calls of a delegate.
        left_over: op that no delegate takes -> how often it is called; the portable kernels run it.
    """

    program: bytes
    delegates: int
    left_over: dict[str, int]


def export(towers: Towers, calibration: Calibration, config: ExportConfig, folder: Path) -> dict[str, Any]:
    """Write `image.<precision>.pte` (one picture per call) and `text.<precision>.pte` (one text per call).

    Args:
        towers: export-ready float towers.
        calibration: train pairs; only int8 looks at them.
        config: precision, delegate, smoothing and float layers.
        folder: existing folder that the files are written into.

    Returns:
        Notes for the manifest: versions, delegate, layers kept in float; for each tower the number of delegate calls,
        the ops left outside, what other delegates would take, how many layers compute with int8 and with float
        activations, seconds.

    Raises:
        UserError: the precision is not possible, or int8 was asked for without calibration pairs.
    """
    find_target(config)
    towers = prepare(towers, calibration, config)
    notes: dict[str, Any] = {
        "versions": {name: version(name) for name in ("executorch", "torch")},
        "backend": config.backend,
        "float_layers": sorted(towers.float_layers),
    }
    modules: dict[str, nn.Module] = {}
    for name in NAMES:
        started = time.monotonic()
        with quiet():
            if config.backend == "coreml":
                module, about = towers[name], dict[str, Any]()
                partitioner = _coreml_partitioner(config)
            else:
                module, about = _for_xnnpack(towers, name, calibration, config)
                partitioner = xnnpack_partitioner()
            modules[name] = module
            lowered = lower(module, _example(towers, name), _lengths(towers, name), partitioner)
        (folder / f"{name}.{config.precision}.pte").write_bytes(lowered.program)
        left = {"delegates": lowered.delegates, "left_over": lowered.left_over}
        notes[name] = about | left | {"seconds": round(time.monotonic() - started, 1)}
    for name, module in modules.items():  # after both are written: other delegates' libraries leave state behind
        found = executorch_accelerators(module, _example(towers, name), _lengths(towers, name))
        notes[name][NOTE] = [one.model_dump(mode="json") for one in found]
    return notes


def _for_xnnpack(
    towers: Towers, name: str, calibration: Calibration, config: ExportConfig
) -> tuple[nn.Module, dict[str, Any]]:
    if name == "image" and on_grids(towers, config):
        assert isinstance(towers.image, MobileTower)
        assert towers.image_grids is not None
        module = StaticImageTower(towers.image, towers.image_grids).eval().requires_grad_(False)
        return module, {"arithmetic": STATIC}
    towers = replace(towers, image=centred(towers.image), text=centred(towers.text))
    if config.precision != "int8":
        return fit_xnnpack(towers[name], {}), {}
    ranges = static_ranges(towers, calibration, XNNPACK) if name == "image" else {}
    chosen = choose_activations(towers, name, calibration)
    inside = tuple(f"{block}." for block in blocks_of(ranges))
    kinds = collections.Counter("static" if layer.startswith(inside) else each.kind for layer, each in chosen.items())
    return fit_xnnpack(towers[name], chosen, ranges), {"int8_layers": dict(sorted(kinds.items()))}


def _example(towers: Towers, name: str) -> Tensor:
    if name == "image":
        return torch.zeros(1, 3, towers.image_size, towers.image_size)
    length = towers.context if towers.fixed_length else min(4, towers.context)
    return torch.full((1, length), towers.eos_id, dtype=torch.int32)


def _lengths(towers: Towers, name: str) -> tuple[dict[int, Any], ...] | None:
    """Return the dynamic dimensions: the length of a text, unless it is always the same."""
    if name == "image" or towers.fixed_length:
        return None
    return ({1: torch.export.Dim("length", min=2, max=towers.context)},)


def lower(module: nn.Module, example: Tensor, lengths: Any, partitioner: Any) -> Lowered:
    """Export a module and hand what a delegate takes to it.

    Args:
        module: a tower, or a part of one.
        example: an input.
        lengths: dynamic dimensions of each input, as torch.export takes them; None where there are none.
        partitioner: of the delegate.
    """
    exported = torch.export.export(module, (example,), dynamic_shapes=lengths)
    # both flags only leave out checks and layout copies that these towers do not need, a third of the time
    edge = to_edge_transform_and_lower(
        exported,
        partitioner=[partitioner],
        compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
    )
    remove_unused_parameters_pass(edge.exported_program())
    targets = [node.target for node in edge.exported_program().graph.nodes if node.op == "call_function"]
    names = collections.Counter(str(getattr(target, "__name__", target)) for target in targets)
    delegates = names.pop("executorch_call_delegate", 0)
    names.pop("getitem", None)
    # XNNPACK's constants are segments of their own, a hundred and more; it needs 16 bytes where the default is 128
    program = edge.to_executorch(ExecutorchBackendConfig(extract_delegate_segments=True, segment_alignment=16))
    return Lowered(bytes(program.buffer), delegates, dict(sorted(names.items())))


def _coreml_partitioner(config: ExportConfig) -> Any:
    """Return the partitioner of the Core ML delegate; int8 are its weights, computed with in float16."""
    import coremltools as ct
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    int8 = config.precision == "int8"
    weights = {"mode": "linear_symmetric", "dtype": "int8", "granularity": "per_channel", "weight_threshold": 1}
    specs = CoreMLBackend.generate_compile_specs(
        minimum_deployment_target=getattr(ct.target, config.deployment),
        compute_precision=ct.precision.FLOAT16 if int8 else ct.precision.FLOAT32,
        op_linear_quantizer_config=weights if int8 else None,
    )
    return CoreMLPartitioner(compile_specs=specs)
