"""How many nodes of an .onnx file the accelerators behind onnxruntime would take.

NNAPI and both forms of Core ML: by onnxruntime's own mobile usability checker, whose tables are in its package. QNN and
XNNPACK: by the operators that their documentation names, counted by the same checker.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnxruntime.tools.mobile_helpers import usability_checker
from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo, optimize_model

from conaclip_edge.bundle.card.accelerators import Accelerator
from conaclip_edge.export.accelerators.documented_operators import DOCUMENTED, Documented
from conaclip_edge.runtime.onnxruntime_errors import could_not_write

_COREML = {
    "Core ML NeuralNetwork": "coreml_supported_neuralnetwork_ops.md",
    "Core ML MLProgram": "coreml_supported_mlprogram_ops.md",
}


def onnx_accelerators(path: Path) -> tuple[Accelerator, ...]:
    """Count what each accelerator would take of a file, after the optimisations that onnxruntime makes at any level.

    Args:
        path: of a .onnx file.

    Raises:
        OSError: there is no room beside the file for its optimised form.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # a killed export's folder is removed by the next
        optimised = Path(folder) / path.name
        try:
            optimize_model(path, optimised, use_external_initializers=True)
        except Exception as error:  # its errors have no common class: Fail, InvalidProtobuf and others
            if could_not_write(str(error)):
                raise OSError(f"onnxruntime cannot write {optimised}") from error
            raise
        model = ModelProtoWithShapeInfo(optimised).model_with_shape_info
    own = f"usability checker of onnxruntime {onnxruntime.__version__}"
    checks: dict[str, tuple[Callable[[], Any], str]] = {
        "NNAPI": (partial(usability_checker.check_nnapi_partitions, model, True), own)
    }
    for name, table in _COREML.items():
        checks[name] = (partial(usability_checker.check_coreml_partitions, model, True, table), own)
    for name, documented in DOCUMENTED.items():
        known = _Known(documented, model.graph)
        check = partial(usability_checker.check_partitioning, model.graph, known, documented.fixed)
        checks[name] = (check, documented.source)
    return tuple(_accelerator(name, check(), source) for name, (check, source) in checks.items())


def _accelerator(name: str, found: Any, source: str) -> Accelerator:
    return Accelerator(
        name=name,
        taken=found.num_supported_nodes,
        nodes=found.num_nodes,
        pieces=found.num_partitions,
        left=tuple(sorted(operator.removeprefix("ai.onnx:") for operator in found.unsupported_ops)),
        symbolic=found.nodes_unsupported_due_to_dynamic_input,
        source=source,
    )


class _Known:
    """Tells onnxruntime's checker which nodes a document names."""

    def __init__(self, documented: Documented, graph: onnx.GraphProto):
        self._documented = documented
        values = (*graph.input, *graph.output, *graph.value_info)
        self._ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
        self._ranks |= {constant.name: len(constant.dims) for constant in graph.initializer}

    def is_op_supported(self, node: onnx.NodeProto) -> bool:
        """Say whether the document names a node's operator, for inputs of its rank."""
        name = f"{node.domain}:{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        wanted = self._documented.ranks.get(name)
        fits = wanted is None or all(self._ranks.get(given) == wanted for given in node.input[:2])
        return name in self._documented.operators and fits
