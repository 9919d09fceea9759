"""What XNNPACK is handed: also what it runs and the partitioner of ExecuTorch leaves out."""

from __future__ import annotations

from typing import Any

from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
from executorch.backends.xnnpack.partition.config.gemm_configs import LinearConfig
from executorch.backends.xnnpack.partition.config.generic_node_configs import BMMConfig, GeluConfig
from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.utils.quant_utils import is_dequant


class _WeightOnlyLinear(LinearConfig):  # type: ignore[misc]  # executorch ships no types
    """Takes linear layers with int8 weights on float rows too."""

    def _detect_precision(self, node: Any) -> Any:
        precision = super()._detect_precision(node)
        on_floats = precision == ConfigPrecisionType.STATIC_QUANT and not is_dequant(node.args[0])
        return ConfigPrecisionType.FP32 if on_floats else precision

    def _get_weight_deps(self, node: Any, program: Any, precision: Any) -> Any:
        int8 = precision == ConfigPrecisionType.FP32 and is_dequant(node.args[1])
        return super()._get_weight_deps(node, program, ConfigPrecisionType.STATIC_QUANT if int8 else precision)


class _Int8Products(BMMConfig):  # type: ignore[misc]
    """Takes products of two int8 tensors in int8; the second one's zero has to be 0."""

    def supported_precision_types(self) -> Any:
        return [ConfigPrecisionType.FP32, ConfigPrecisionType.STATIC_QUANT]


class _TabledGelu(GeluConfig):  # type: ignore[misc]
    """Takes GELU between int8 tensors in int8: XNNPACK makes a table of it."""

    def supported_precision_types(self) -> Any:
        return [ConfigPrecisionType.FP32, ConfigPrecisionType.STATIC_QUANT]


_OURS = {LinearConfig: _WeightOnlyLinear, BMMConfig: _Int8Products, GeluConfig: _TabledGelu}


def xnnpack_partitioner() -> Any:
    """Return the partitioner that hands XNNPACK everything it can run."""
    return XnnpackPartitioner([_OURS.get(each, each) for each in ALL_PARTITIONER_CONFIGS])
