"""How many nodes of an ExecuTorch program the delegates of phones other than XNNPACK would take.

Their partitioners only mark nodes, so no phone and no compiler of the vendor is needed: Core ML's and Vulkan's do it
here. Qualcomm's asks for the vendor's SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig, to_edge
from torch import Tensor, nn

from conaclip_edge.bundle.card.accelerators import Accelerator
from conaclip_edge.system.progress import quiet


def executorch_accelerators(module: nn.Module, example: Tensor, lengths: Any) -> tuple[Accelerator, ...]:
    """Count what each delegate would take of the program of a module.

    Args:
        module: a tower, as it is exported.
        example: an input of it.
        lengths: dynamic dimensions of the input, as `torch.export` takes them.
    """
    with quiet():
        exported = torch.export.export(module, (example,), dynamic_shapes=lengths)
        return tuple(_marked(name, opened, exported) for name, opened in _PARTITIONERS.items())


def _marked(name: str, opened: Callable[[], Any], exported: Any) -> Accelerator:
    source = f"partitioner of executorch {version('executorch')}"
    try:
        partitioner = opened()
    except (ImportError, OSError, RuntimeError) as error:
        return Accelerator(name=name, source=source, reason=_SDKS.get(name) or f"{_UNOPENED}: {_first_line(error)}")
    kept, _ = partitioner.ops_to_not_decompose(exported)
    config = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True, preserve_ops=kept)
    program = to_edge(exported, compile_config=config).exported_program()
    marked = partitioner.partition(program).tagged_exported_program
    nodes = [node for node in marked.graph.nodes if node.op == "call_function" and _name(node) != "getitem"]
    tags = {node: node.meta.get("delegation_tag") for node in nodes}
    return Accelerator(
        name=name,
        taken=sum(tag is not None for tag in tags.values()),
        nodes=len(nodes),
        pieces=len({tag for tag in tags.values() if tag is not None}),
        left=tuple(sorted({_name(node) for node, tag in tags.items() if tag is None})),
        source=source,
    )


def _name(node: Any) -> str:
    return str(getattr(node.target, "__name__", node.target))


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0][:200].rstrip(".")


def _coreml() -> Any:
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    return CoreMLPartitioner()


def _qnn() -> Any:
    from executorch.backends.qualcomm.partition.qnn_partitioner import QnnPartitioner
    from executorch.backends.qualcomm.serialization.qc_schema import QcomChipset
    from executorch.backends.qualcomm.utils import utils

    options = utils.generate_htp_compiler_spec(use_fp16=True)
    return QnnPartitioner(utils.generate_qnn_executorch_compiler_spec(QcomChipset.SM8650, options))


def _vulkan() -> Any:
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return VulkanPartitioner()


_UNOPENED = "its partitioner does not open here"
# delegate -> what its partitioner asks for; the library's own error names a package of Python that is not enough
_SDKS = {"QNN": "its partitioner needs the vendor's SDK (Qualcomm AI Engine Direct), which is not installed here"}
# delegate -> its partitioner, which is imported when it is asked for
_PARTITIONERS: dict[str, Callable[[], Any]] = {"Core ML MLProgram": _coreml, "QNN": _qnn, "Vulkan": _vulkan}
