"""Making a Core ML program's description smaller: of a small int8 tower it is a tenth of the file."""

from __future__ import annotations

from typing import Any

_ENDINGS = ("_to_fp16_quantized", "_to_fp16")


def one_zero_point(model: Any) -> Any:
    """Return a model whose symmetric int8 weights have one zero point each instead of a zero for each channel."""
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.models import utils

    class OneZeroPoint(AbstractGraphPass):  # type: ignore[misc]  # coremltools ships no types
        def apply(self, program: Any) -> None:
            block = program.functions["main"]
            with block:
                for old in list(block.operations):
                    if old.op_type == "constexpr_affine_dequantize" and not old.zero_point.val.any():
                        new = mb.constexpr_affine_dequantize(
                            quantized_data=old.quantized_data.val,
                            zero_point=old.zero_point.val.dtype.type(0),
                            scale=old.scale.val,
                            axis=old.axis.val,
                            before_op=old,
                            name=old.name,
                        )
                        block.replace_uses_of_var_after_op(
                            anchor_op=old, old_var=old.outputs[0], new_var=new, force_replace=True
                        )
                        block.remove_ops([old])

    return utils._apply_graph_pass(model, OneZeroPoint(), skip_model_load=True)


def compact(specification: Any) -> None:
    """Merge equal constants of a protobuf model and shorten the names of values that no caller sees."""
    function = specification.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    taken = {one.name for one in function.inputs} | set(block.outputs)
    names = {name: name for name in taken}
    first: dict[bytes, str] = {}
    kept = []
    for operation in block.operations:
        assert not operation.blocks, f"{operation.type} has a body, in which names would not be changed"
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name":
                    binding.name = names[binding.name]
        if operation.type == "const":
            content = operation.attributes["val"].SerializeToString(deterministic=True)
            if content in first:
                names[operation.outputs[0].name] = first[content]
                continue
        for output in operation.outputs:
            names[output.name] = names.get(output.name) or _short(output.name, operation, taken)
            output.name = names[output.name]
            taken.add(output.name)
        if operation.type == "const":
            first[content] = operation.outputs[0].name
        label = operation.attributes["name"].immediateValue.tensor.strings
        label.values[0] = operation.outputs[0].name
        kept.append(operation)
    copies = [type(operation).FromString(operation.SerializeToString()) for operation in kept]
    del block.operations[:]
    block.operations.extend(copies)


def _short(name: str, operation: Any, taken: set[str]) -> str:
    """Return a name that is not taken: that of its layer for a weight, a number for everything else."""
    constant = operation.type == "const"
    if operation.type.startswith("constexpr_") or (
        constant and operation.attributes["val"].WhichOneof("value") == "blobFileValue"
    ):
        ending = next((ending for ending in _ENDINGS if name.endswith(ending)), "")
        short = name.removesuffix(ending).replace("_conv_", "_")
        return name if short in taken else short
    letter = "c" if constant else "v"
    return next(short for number in range(len(taken) + 1) if (short := f"{letter}{number}") not in taken)
