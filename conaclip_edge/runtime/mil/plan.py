"""From a loaded Core ML program to a plan: the steps in order, each with the slots that it reads, fills and frees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.mil.ops.table import constant, unknown_inputs


@dataclass(frozen=True)
class Declared:
    """A value as the program declares it.

    shape: each dimension a number, the name of a size that is bound at run time, or None; None as a whole where not
        even the rank is known.
    """

    name: str
    slot: int
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class Step:
    """One op: the slots of its inputs and what it makes. `value` is that of a constant, `frees` is read no more."""

    op: str
    name: str
    inputs: dict[str, int | list[int]]
    outputs: list[Declared]
    value: Any = None
    frees: list[int] = field(default_factory=list)

    def sources(self) -> list[int]:
        """Return the slots that the step reads."""
        return [slot for value in self.inputs.values() for slot in (value if isinstance(value, list) else [value])]


@dataclass(frozen=True)
class Plan:
    """A program as steps; `inputs` and `outputs` are those of the program."""

    inputs: list[Declared]
    steps: list[Step]
    outputs: list[Declared]


def plan_program(path: Path, spec: Any, weights: Path) -> Plan:
    """Load the program of a package (see `read_package`) and lay out its steps.

    Errors: UserError for a program that cannot be loaded, or an op with an input that the interpreter does not know.
    """
    function = _load(path, spec, weights)
    slots: dict[int, int] = {}
    inputs = [_declared(var, slots) for var in function.inputs.values()]
    steps = [_step(operation, slots, path) for operation in function.operations]
    return Plan(inputs, steps, [_declared(var, slots) for var in function.outputs])


def freeing(steps: Sequence[Step], keep: set[int]) -> list[Step]:
    """Let each step free what no later step reads, but for the slots to keep."""
    seen = set(keep)
    result = []
    for step in reversed(steps):
        last = {*step.sources(), *(output.slot for output in step.outputs)} - seen
        seen |= last
        result.append(replace(step, frees=sorted(last)))
    return result[::-1]


def _load(path: Path, spec: Any, weights: Path) -> Any:
    from coremltools.converters.mil.frontend.milproto.load import load

    try:
        program = load(spec, spec.specificationVersion, str(weights))
    except Exception as error:  # the loader raises bare exceptions of many kinds
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise UserError(f"{path}: the program cannot be loaded ({reason}). Export it again.") from error
    return program.functions["main"]


def _declared(var: Any, slots: dict[int, int]) -> Declared:
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.types.symbolic import any_variadic, is_symbolic

    def dimension(size: Any) -> int | str | None:
        if not is_symbolic(size):
            return int(size)
        return str(size) if size.is_Symbol else None

    shape = None if any_variadic(var.shape) else tuple(dimension(size) for size in var.shape)
    return Declared(var.name, slots.setdefault(id(var), len(slots)), types.builtin_to_string(var.dtype), shape)


def _step(operation: Any, slots: dict[int, int], path: Path) -> Step:
    outputs = [_declared(var, slots) for var in operation.outputs]
    if operation.op_type == "const":
        return Step("const", operation.name, {}, outputs, constant(operation.outputs[0].val))
    inputs: dict[str, int | list[int]] = {}
    for name, var in operation.inputs.items():
        if isinstance(var, (list, tuple)):
            inputs[name] = [slots[id(one)] for one in var]
        elif var is not None:
            inputs[name] = slots[id(var)]
    strange = unknown_inputs(operation.op_type, inputs)
    if strange:
        raise UserError(
            f"{path}: the op '{operation.name}' ({operation.op_type}) has the inputs {strange}, which the reference "
            "interpreter does not know. Export for an older target, or add them to runtime/mil_ops.py."
        )
    return Step(operation.op_type, operation.name, inputs, outputs)
