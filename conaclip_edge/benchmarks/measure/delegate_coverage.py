"""Where the operations of an exported file run: in int8 kernels or a delegate, or elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conaclip_edge.benchmarks.schema.row import Coverage

INT8_OPS = (
    *("MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeMatMul"),
    *("MatMulIntegerToFloat", "MatMulNBits", "QGemm", "QAttention"),
)
_BACKENDS = {"XnnpackBackend": "XNNPACK delegate", "CoreMLBackend": "Core ML delegate"}


def coverages(paths: Sequence[Path]) -> dict[Path, Coverage]:
    """Count operations of .onnx and .pte files; others, whose operations only the device places, are left out."""
    readers = {".onnx": onnx_coverage, ".pte": executorch_coverage}
    return {path: readers[path.suffix](path) for path in paths if path.suffix in readers}


def onnx_coverage(path: Path) -> Coverage:
    """Count the nodes of an ONNX graph that compute in int8, and all others by their type."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    counts = Counter(node.op_type for node in graph.node if node.op_type not in ("Constant", "Identity"))
    inside = sum(count for name, count in counts.items() if name in INT8_OPS)
    outside = {name: count for name, count in counts.most_common() if name not in INT8_OPS}
    return Coverage(accelerated="int8 kernels", inside=inside, outside=outside)


def executorch_coverage(path: Path) -> Coverage:
    """Count the delegate calls of an ExecuTorch program, and the kernels that run outside of them by their name."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    program: Any = deserialize_pte_binary(path.read_bytes()).program
    plan = program.execution_plan[0]
    calls: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    for chain in plan.chains:
        for instruction in chain.instructions:
            given = instruction.instr_args
            kind = type(given).__name__
            if kind == "DelegateCall":
                calls[plan.delegates[given.delegate_index].id] += 1
            elif kind == "KernelCall":
                kernels[plan.operators[given.op_index].name.removeprefix("aten::")] += 1
    names = ", ".join(_BACKENDS.get(name, name) for name in calls) or "no delegate"
    return Coverage(accelerated=names, inside=sum(calls.values()), outside=dict(kernels.most_common()))
