"""Repairs of coremltools 9.0's torch front end, for versions of its neighbours that it was not tested with."""

from __future__ import annotations

from typing import Any

import numpy as np

_REPAIRED = "9.0"


def apply_patches() -> None:
    """Repair the torch front end of coremltools 9.0; do nothing with another version, or when called again.

    1. numpy 2.4 no longer turns a one-element array into an int, which the conversion of traced shapes relies on.
    2. `torch.export` leaves `aten.alias` in graphs, for which there is no conversion; it is a no-op.
    """
    import coremltools
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as registry

    if coremltools.__version__ != _REPAIRED:
        return
    if registry.get_func("alias") is None:
        registry.set_func_by_name(ops.noop, "alias")
    if np.lib.NumpyVersion(np.__version__) >= "2.4.0" and ops._cast is not _cast:
        _ORIGINAL["cast"] = ops._cast
        ops._cast = _cast


_ORIGINAL: dict[str, Any] = {}


def _cast(context: Any, node: Any, dtype: type, dtype_name: str) -> None:
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch import ops

    (x,) = ops._get_inputs(context, node, expected=1)
    if x.can_be_folded_to_const() and isinstance(x.val, np.ndarray) and x.val.size == 1:
        context.add(Builder.const(val=dtype(x.val.item()), name=node.name), node.name)
    else:
        _ORIGINAL["cast"](context, node, dtype, dtype_name)
