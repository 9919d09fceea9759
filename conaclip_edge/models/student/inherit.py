"""Starting a student's towers from the parts of a larger CLIP that matter most, as TinyCLIP inherits weights.

Which layers, heads, channels of the MLPs and channels of the rows those are is measured while the teacher embeds some
pictures or texts (TinyCLIP, arXiv 2309.12314, learns it; a layer by what it changes is as in ShortGPT, 2403.03853).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.errors import UserError

# parameter, by the end of its name -> what each of its axes counts
_AXES = (
    (r"class_embedding", ("row",)),
    (r"patch_embedding\.weight", ("row", "", "", "")),
    (r"position_embedding\.weight", ("position", "row")),
    (r"token_embedding\.weight", ("token", "row")),
    (r"(q|k|v)_proj\.weight", ("head", "row")),
    (r"(q|k|v)_proj\.bias", ("head",)),
    (r"out_proj\.weight", ("row", "head")),
    (r"fc1\.weight", ("mlp", "row")),
    (r"fc1\.bias", ("mlp",)),
    (r"fc2\.weight", ("row", "mlp")),
    (r"projection\.weight", ("", "row")),
    (r"(norm\d?|out_proj|fc2)\.(weight|bias)", ("row",)),
)


@dataclass(frozen=True)
class Sizes:
    """What of a tower can be chosen.

    Attributes:
        layers, width, heads, mlp: of a CLIP transformer; a head is width / heads wide.
    """

    layers: int
    width: int
    heads: int
    mlp: int


@dataclass(frozen=True)
class Chosen:
    """The parts of a teacher's tower that a student takes, each in the teacher's order.

    Attributes:
        layers: their numbers.
        rows: channels of the rows that pass all layers.
        heads, mlp: by layer, rows of its queries, and channels of its MLP.
    """

    layers: list[int]
    rows: Tensor
    heads: list[Tensor]
    mlp: list[Tensor]


def check_sizes(teacher: Sizes, student: Sizes, key: str) -> None:
    """Refuse a student that is larger than its teacher, or has heads of another width.

    Args:
        teacher: sizes of its tower.
        student: the same.
        key: of the recipe, for the error, e.g. "student.image".
    """
    for name in ("layers", "width", "heads", "mlp"):
        if getattr(student, name) > getattr(teacher, name):
            raise UserError(
                f"{key}.{name} is {getattr(student, name)}, the teacher's {getattr(teacher, name)}: a student inherits "
                "from a larger tower."
            )
    wide = teacher.width // teacher.heads
    heads = max(1, student.width // wide)
    if student.width != student.heads * wide:
        raise UserError(
            f"{key}: the teacher's heads are {wide} wide, so the width of a student that inherits them is heads x "
            f"{wide}. Set {key}.heads={heads} {key}.width={heads * wide}."
        )


@torch.no_grad()
def choose(tower: nn.Module, run: Callable[[], object], student: Sizes) -> Chosen:
    """Choose what of a teacher's tower matters most for what it is run on.

    Args:
        tower: CLIP's vision or text transformer, with `encoder.layers`.
        run: lets the teacher embed pictures or texts.
        student: how much is taken.
    """
    layers: Any = tower.get_submodule("encoder.layers")
    seen: dict[tuple[str, int], Tensor] = defaultdict(lambda: torch.zeros(()))
    handles = []

    def watch(number: int, layer: Any) -> None:
        def whole(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            after = output if isinstance(output, Tensor) else output[0]
            seen["layer", number] = seen["layer", number] + (1 - F.cosine_similarity(inputs[0], after, dim=-1)).mean()

        def size(kind: str, reader: nn.Linear | None) -> Callable[..., None]:
            def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                mean = inputs[0].abs().flatten(0, -2).mean(dim=0)
                seen[kind, number] = seen[kind, number] + mean * (1 if reader is None else reader.weight.norm(dim=0))

            return add

        attention, mlp = layer.self_attn, layer.mlp
        handles.append(layer.register_forward_hook(whole))
        handles.append(attention.out_proj.register_forward_pre_hook(size("head", attention.out_proj)))
        handles.append(mlp.fc2.register_forward_pre_hook(size("mlp", mlp.fc2)))
        handles.append(layer.layer_norm1.register_forward_pre_hook(size("row", None)))

    for number, layer in enumerate(layers):
        watch(number, layer)
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    kept = _largest(torch.stack([seen["layer", number] for number in range(len(layers))]), student.layers).tolist()
    rows = _largest(torch.stack([seen["row", number] for number in range(len(layers))]).mean(dim=0), student.width)
    wide = student.width // student.heads
    heads, mlp = [], []
    for number in kept:
        of_heads = _largest(seen["head", number].view(-1, wide).sum(dim=1), student.heads)
        heads.append((of_heads[:, None] * wide + torch.arange(wide)).flatten())
        mlp.append(_largest(seen["mlp", number], student.mlp))
    return Chosen(kept, rows, heads, mlp)


@torch.no_grad()
def inherit(target: nn.Module, weights: dict[str, Tensor], chosen: Chosen, rows: dict[str, Tensor]) -> int:
    """Fill a student's tower with the chosen parts of a teacher's; returns the number of weights.

    Args:
        target: CLIP's vision or text model with its projection.
        weights: the teacher's, under the same names.
        chosen: of that tower.
        rows: "position" or "token" -> the rows of that table that the student has.
    """
    state = target.state_dict()
    for name, value in state.items():
        layer = re.search(r"\.layers\.(\d+)\.", name)
        place = int(layer[1]) if layer else 0
        source = name.replace(f".layers.{place}.", f".layers.{chosen.layers[place]}.") if layer else name
        taken = weights[source]
        parts = rows | {"row": chosen.rows, "head": chosen.heads[place], "mlp": chosen.mlp[place]}
        for axis, kind in enumerate(_axes(name)):
            if kind in parts:
                taken = taken.index_select(axis, parts[kind])
        assert taken.shape == value.shape, f"{name} is {list(taken.shape)}, not {list(value.shape)}"
        state[name] = taken
    target.load_state_dict(state)
    return sum(value.numel() for value in target.parameters())


def _axes(name: str) -> tuple[str, ...]:
    return next(axes for pattern, axes in _AXES if re.search(rf"{pattern}$", name))


def _largest(values: Tensor, count: int) -> Tensor:
    """Return the places of the largest values, in order."""
    return values.topk(count).indices.sort().values
