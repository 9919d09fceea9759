"""An ExecuTorch text program with another input: 64-bit ids and a mask before the same program of 32-bit ids."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary
from executorch.exir.scalar_type import ScalarType
from executorch.exir.schema import (
    AllocationDetails,
    Bool,
    EValue,
    ExecutionPlan,
    Instruction,
    KernelCall,
    KernelTypes,
    Null,
    Operator,
    Tensor,
)

_ALIGNMENT = 16
_BYTES = 8  # of one id
_CAST = Operator("aten::_to_copy", "out")


def with_long_ids(path: Path) -> bytes:
    """Return a text tower's program that takes ids int64 [1, L] and a mask int64 [1, L], which changes nothing.

    One instruction is added, a cast into the tensor that was the input; instructions, delegates and weights stay.

    Args:
        path: a .pte file: input_ids int32 [1, L] to embedding [1, d].
    """
    file = deserialize_pte_binary(path.read_bytes())
    (plan,) = file.program.execution_plan
    (tower_ids,) = plan.inputs
    ids, mask = (_long_input(plan, tower_ids) for _ in range(2))
    cast = KernelCall(_operator(plan), [ids, _value(plan, Bool(False)), _value(plan, Null()), tower_ids, tower_ids])
    chain = plan.chains[0]
    chain.instructions.insert(0, Instruction(cast))
    if chain.stacktrace:
        chain.stacktrace.insert(0, deepcopy(chain.stacktrace[0]))
    plan.inputs[:] = [ids, mask]
    # as the exporter writes its files
    return bytes(serialize_pte_binary(file, extract_delegate_segments=True, segment_alignment=_ALIGNMENT))


def _long_input(plan: ExecutionPlan, like: int) -> int:
    """Add a tensor of int64 with the sizes of another one, behind all planned memory; returns its number."""
    tensor = deepcopy(plan.values[like].val)
    assert isinstance(tensor, Tensor)
    assert tensor.allocation_info is not None
    memory = tensor.allocation_info.memory_id
    start = -(-plan.non_const_buffer_sizes[memory] // _ALIGNMENT) * _ALIGNMENT
    tensor.scalar_type = ScalarType.LONG
    tensor.allocation_info = AllocationDetails(memory, start % 2**32, start // 2**32)
    room = _BYTES
    for size in tensor.sizes:
        room *= size
    plan.non_const_buffer_sizes[memory] = start + room
    return _value(plan, tensor)


def _value(plan: ExecutionPlan, value: KernelTypes) -> int:
    plan.values.append(EValue(value))
    return len(plan.values) - 1


def _operator(plan: ExecutionPlan) -> int:
    if _CAST not in plan.operators:
        plan.operators.append(_CAST)
    number: int = plan.operators.index(_CAST)
    return number
