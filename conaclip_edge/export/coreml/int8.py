"""Int8 for Core ML programs: weights with a scale for each output channel, and activations calibrated off a Mac."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from conaclip_edge.export.coreml.compact import one_zero_point
from conaclip_edge.export.coreml.package import SPECIFICATION
from conaclip_edge.runtime.mil.package import operations
from conaclip_edge.runtime.mil.program import MilProgram, package_activation_stats

# operation -> the argument that holds its weight; `gather` is the token table
_WEIGHTS = {"linear": "weight", "conv": "weight", "gather": "x"}
_IOS17 = 8  # specification version, the first with int8 activations


def int8_weights(model: Any, float_layers: frozenset[str]) -> Any:
    """Return the model with int8 matrices, kernels and token table, symmetric, a scale for each output channel.

    Args:
        model: a fp16 `MLModel`.
        float_layers: names of the layers in the tower whose weights stay as they are.
    """
    from coremltools.optimize import coreml as cto

    how = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    kept = dict.fromkeys(_weight_names(model, float_layers) | _used_elsewhere(model))
    config = cto.OptimizationConfig(op_type_configs=dict.fromkeys(_WEIGHTS, how), op_name_configs=kept)
    return one_zero_point(cto.linear_quantize_weights(model, config))


def int8_activations(
    model: Any, name: str, batches: Iterable[Tensor], float_layers: frozenset[str], room: float = 1.0
) -> Any:
    """Return the model with int8 inputs of linear layers and convolutions, scaled to the range that they were seen in.

    The ranges come from the reference interpreter: coremltools' own calibration needs a Mac, and keeps the range of
    the last sample only. Sums and outputs stay fp16, which costs less accuracy than coremltools' default.

    Args:
        model: a fp16 `MLModel` with float weights.
        name: its input.
        batches: calibration inputs [B, ...] as the tower takes them.
        float_layers: names of the layers in the tower whose inputs stay fp16.
        room: how many times as wide as what was seen the ranges are.
    """
    from coremltools.converters.mil.mil.passes.graph_pass import PassOption
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
    from coremltools.models import utils
    from coremltools.optimize import coreml as cto

    with tempfile.TemporaryDirectory(prefix="calibration-") as folder:
        path = Path(folder) / "float.mlpackage"
        model.save(str(path))
        _accept_any_length(path)
        program = MilProgram(path)
        levels = 1 if program.inputs[name].image is None else 255
        seen = package_activation_stats(program, ({name: row} for row in _rows(batches, levels)))
    stats = {each: {end: room * value for end, value in limits.items()} for each, limits in seen.items()}
    how = cto.OpLinearQuantizerConfig(mode="linear")
    weights = _weight_names(model, float_layers)
    kept = dict.fromkeys(operation for operation, weight in _weights(model) if weight in weights)
    config = cto.OptimizationConfig(op_type_configs={"linear": how, "conv": how}, op_name_configs=kept)
    insert = PASS_REGISTRY["compression::insert_prefix_quantize_dequantize_pair"]
    insert.set_options([PassOption("config", config), PassOption("activation_stats", stats)])
    passes = [insert, PASS_REGISTRY["common::dequantize_quantize_pair_elimination"]]
    return utils._apply_graph_pass(model, passes, spec_version=_IOS17, skip_model_load=True)


def _weight_names(model: Any, layers: frozenset[str]) -> set[str]:
    """Return the constants that hold the weights of layers, which a traced module names by its path."""
    found = {weight for _, weight in _weights(model)}
    names = {layer: f"{layer.replace('.', '_')}_weight_to_fp16" for layer in layers}
    missing = sorted(layer for layer, name in names.items() if name not in found)
    assert not missing, f"no weights of {missing} among {sorted(found)}"
    return set(names.values())


def _weights(model: Any) -> Iterator[tuple[str, str]]:
    """Yield (operation, constant) of everything that int8 covers."""
    for operation in operations(model.get_spec()):
        if operation.type in _WEIGHTS:
            name = operation.attributes["name"].immediateValue.tensor.strings.values[0]
            yield name, operation.inputs[_WEIGHTS[operation.type]].arguments[0].name


def _used_elsewhere(model: Any) -> set[str]:
    """Return the constants that other operations use, too: coremltools refuses one that only some quantise.

    It merges equal constants, so a bias of zeros may also be a norm's.
    """
    found = list(operations(model.get_spec()))
    constants = {operation.outputs[0].name for operation in found if operation.type == "const"}
    used = {
        binding.name
        for operation in found
        if operation.type not in _WEIGHTS
        for argument in operation.inputs.values()
        for binding in argument.arguments
        if binding.WhichOneof("binding") == "name"
    }
    return constants & used


def _rows(batches: Iterable[Tensor], levels: int) -> Iterator[np.ndarray]:
    for batch in batches:
        values = batch.numpy()
        yield from (values * levels if levels > 1 else values).reshape(-1, 1, *values.shape[1:])


def _accept_any_length(path: Path) -> None:
    """Lift the enumeration of lengths: calibration texts are not padded, as padding would widen ranges."""
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model()
    model.ParseFromString((path / SPECIFICATION).read_bytes())
    (feature,) = model.description.input
    array = feature.type.multiArrayType
    if array.WhichOneof("ShapeFlexibility") != "enumeratedShapes":
        return
    longest = max(shape.shape[1] for shape in array.enumeratedShapes.shapes)
    for low, high in ((1, 1), (2, longest)):
        limits = array.shapeRange.sizeRanges.add()
        limits.lowerBound, limits.upperBound = low, high
    (path / SPECIFICATION).write_bytes(model.SerializeToString())
