"""The reference interpreter for Core ML programs: executes a .mlpackage on any host, op by op.

It is a reference of the program's meaning, not of the arithmetic of a phone's CPU, GPU or neural engine: every op
computes in float32, and each value that the program declares as fp16 is rounded to fp16 once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.mil.inputs import InputSpec, check_inputs, input_specs
from conaclip_edge.runtime.mil.ops.table import OPS, stored
from conaclip_edge.runtime.mil.package import operations, read_package
from conaclip_edge.runtime.mil.plan import Declared, Plan, Step, freeing, plan_program

Observer = Callable[[str, npt.NDArray[Any]], None]
Batch = Mapping[str, npt.ArrayLike]
Value = Tensor | str

_NUMPY = {"fp16": np.float16, "fp32": np.float32, "int32": np.int32, "bool": np.bool_}


@dataclass(frozen=True)
class OutputSpec:
    """The declared shape (None: known at run time only) and type ("fp16", "fp32", "int32", "bool") of an output."""

    shape: tuple[int | None, ...]
    dtype: str


class MilProgram:
    """A Core ML program that can be called.

    inputs: name -> `InputSpec`; outputs: name -> `OutputSpec`.

    Args:
        path: the .mlpackage folder.
        precision: "declared" rounds what is declared fp16; "fp32" does not, which tells rounding from meaning.

    Errors: UserError for a broken package and for an op that the interpreter does not know.
    """

    inputs: dict[str, InputSpec]
    outputs: dict[str, OutputSpec]

    def __init__(self, path: Path, precision: Literal["declared", "fp32"] = "declared") -> None:
        self.path = path
        self._half = precision == "declared"
        self._nonfinite: dict[str, int] = {}
        spec, weights = read_package(path)
        self._refuse_unknown_ops(spec)
        self.inputs = input_specs(spec.description, str(path))
        plan = plan_program(path, spec, weights)
        self._refuse_other_ends(spec, plan)
        self.outputs = {
            one.name: OutputSpec(tuple(size if isinstance(size, int) else None for size in one.shape or ()), one.dtype)
            for one in plan.outputs
        }
        self._plan, self._constants = self._fold(plan)

    @torch.inference_mode()
    def __call__(self, inputs: Batch, observer: Observer | None = None) -> dict[str, npt.NDArray[Any]]:
        """Run the program once.

        Args:
            inputs: name -> array of a declared shape and type; images as RGB [H, W, 3] or [1, 3, H, W] in 0..255.
            observer: called with the name and the value of every float input and every float result of an op, in the
                order of execution; the array may not be kept or changed.

        Returns:
            name -> array of the declared type.

        Errors: UserError for inputs that are not as declared, and for a value that is not of its declared shape.
        """
        arrays = check_inputs(self.inputs, inputs, str(self.path))
        values: dict[int, Value] = dict(self._constants)
        sizes: dict[str, int] = {}
        for entry in self._plan.inputs:
            value = stored(torch.from_numpy(arrays[entry.name].copy()), entry.dtype, half=self._half)
            self._check_shape("the input", entry, value, sizes)
            values[entry.slot] = value
            _observe(observer, entry.name, value)
        for step in self._plan.steps:
            for output, value in zip(step.outputs, self._run(step, values, sizes), strict=True):
                values[output.slot] = value
                _observe(observer, output.name, value)
            for slot in step.frees:
                del values[slot]
        return {one.name: np.array(values[one.slot], _NUMPY[one.dtype]) for one in self._plan.outputs}

    def nan_or_inf(self) -> dict[str, int]:
        """Return how many inf or NaN the program has made so far, by "op name (op type)", in order of appearance.

        Only an op that makes them out of finite inputs is listed (or NaN out of inf), not those that pass them on; a
        constant counts once, when the program is loaded.
        """
        return dict(self._nonfinite)

    def _refuse_unknown_ops(self, spec: Any) -> None:
        for operation in operations(spec):
            if operation.type != "const" and operation.type not in OPS:
                name = operation.outputs[0].name if operation.outputs else ""
                raise UserError(
                    f"{self.path}: the program uses the op '{operation.type}' (at '{name}'), which the reference "
                    "interpreter does not know. Export the model without it, or add it to runtime/mil_ops.py."
                )

    def _refuse_other_ends(self, spec: Any, plan: Plan) -> None:
        """The description and the program of a package each name its inputs and outputs."""
        declared = {one.name for one in spec.description.output}
        made = {one.name for one in plan.outputs if one.dtype in _NUMPY}
        if {one.name for one in plan.inputs} != set(self.inputs) or declared != made:
            raise UserError(
                f"{self.path}: its description and its program have other inputs or outputs. Export the package again."
            )

    def _fold(self, plan: Plan) -> tuple[Plan, dict[int, Value]]:
        """Run once what depends on constants only, and return the plan of the rest and the constants that it needs."""
        constants: dict[int, Value] = {}
        rest = []
        for step in plan.steps:
            if step.op == "const":
                value = step.value
                if isinstance(value, Tensor):
                    value = stored(value, step.outputs[0].dtype, half=self._half)
                    self._count_nonfinite(step, value, [])
                constants[step.outputs[0].slot] = value
            elif all(slot in constants for slot in step.sources()):
                results = self._run(step, constants, {})
                constants.update({output.slot: value for output, value in zip(step.outputs, results, strict=True)})
            else:
                rest.append(step)
        results_of_all = {one.slot for one in plan.outputs}
        used = results_of_all.union(*(step.sources() for step in rest))
        steps = freeing(rest, keep=results_of_all | set(constants))
        return Plan(plan.inputs, steps, plan.outputs), {slot: constants[slot] for slot in used & set(constants)}

    def _run(self, step: Step, values: Mapping[int, Value], sizes: dict[str, int]) -> list[Tensor]:
        given = {
            name: [values[one] for one in slot] if isinstance(slot, list) else values[slot]
            for name, slot in step.inputs.items()
        }
        try:
            result = OPS[step.op](**given)
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError) as error:
            reason = str(error).splitlines()[0] if str(error) else repr(error)
            raise UserError(
                f"{self.path}: the op '{step.name}' ({step.op}) failed: {reason}. Check the inputs' values."
            ) from error
        results = list(result) if isinstance(result, tuple) else [result]
        rounded = []
        for output, value in zip(step.outputs, results, strict=True):
            value = stored(value, output.dtype, half=self._half)
            self._check_shape(f"the op '{step.name}' ({step.op})", output, value, sizes)
            self._count_nonfinite(step, value, [values[slot] for slot in step.sources()])
            rounded.append(value)
        return rounded

    def _check_shape(self, what: str, declared: Declared, value: Tensor, sizes: dict[str, int]) -> None:
        if declared.shape is None:
            return
        expected = [sizes.get(size) if isinstance(size, str) else size for size in declared.shape]
        if len(expected) != value.ndim or any(
            want not in (None, size) for want, size in zip(expected, value.shape, strict=True)
        ):
            raise UserError(
                f"{self.path}: {what} declares '{declared.name}' as {expected}, but its value is {list(value.shape)}. "
                "The package is inconsistent: export it again."
            )
        sizes.update(
            {name: size for name, size in zip(declared.shape, value.shape, strict=True) if isinstance(name, str)}
        )

    def _count_nonfinite(self, step: Step, value: Tensor, sources: list[Value]) -> None:
        if not value.is_floating_point() or bool(torch.isfinite(value.sum())):
            return  # a finite sum has finite terms: one cheap pass for the usual case
        nan, inf = int(torch.isnan(value).sum()), int(torch.isinf(value).sum())
        floats = [one for one in sources if isinstance(one, Tensor) and one.is_floating_point()]
        had_nan = any(bool(torch.isnan(one).any()) for one in floats)
        had_inf = any(bool(torch.isinf(one).any()) for one in floats)
        made = (0 if had_nan else nan) + (0 if had_nan or had_inf else inf)
        if made:
            key = f"{step.name} ({step.op})"
            self._nonfinite[key] = self._nonfinite.get(key, 0) + made


def package_activation_stats(program: MilProgram, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
    """Run a float program over calibration batches and return each tensor's range over all of them.

    Returns:
        tensor name -> {"rmin", "rmax"}, which is what coremltools' activation quantisation passes read.

    Errors: UserError when there is no batch, or when a value is inf or NaN.
    """
    stats: dict[str, dict[str, float]] = {}

    def widen(name: str, value: npt.NDArray[Any]) -> None:
        low, high = float(value.min()), float(value.max())
        if not np.isfinite([low, high]).all():
            raise UserError(f"{program.path}: '{name}' is inf or NaN while calibrating. Mend the float program first.")
        seen = stats.setdefault(name, {"rmin": low, "rmax": high})
        seen["rmin"], seen["rmax"] = min(seen["rmin"], low), max(seen["rmax"], high)

    for batch in batches:
        program(batch, observer=widen)
    if not stats:
        raise UserError(f"{program.path}: no calibration batch was given. Give at least one.")
    return stats


def _observe(observer: Observer | None, name: str, value: Tensor) -> None:
    if observer is not None and value.is_floating_point():
        observer(name, value.numpy())
