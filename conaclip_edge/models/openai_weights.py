"""Weights under the names of OpenAI's CLIP, which OpenCLIP and others keep, made into a model of transformers.

In such files query, key and value are one tensor, and the projections are the transposed of transformers'.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from conaclip_edge.errors import UserError

Names = tuple[tuple[str, str], ...]


class Part(NamedTuple):
    """Where a tensor of a transformers model is in the checkpoint.

    Attributes:
        name: of the checkpoint's tensor.
        third: 0, 1 or 2 of query, key and value, which it holds one below the other; None for all of it.
        transposed: whether rows and columns are swapped.
    """

    name: str
    third: int | None
    transposed: bool


# transformers' names -> the checkpoint's, tried in this order; what does not occur in a name leaves it as it is
OPENAI_IMAGE = (
    ("vision_model.embeddings.patch_embedding.", "visual.conv1."),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    ("vision_model.embeddings.", "visual."),
    ("vision_model.pre_layrnorm.", "visual.ln_pre."),
    ("vision_model.post_layernorm.", "visual.ln_post."),
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    ("visual_projection.weight", "visual.proj"),
    ("text_projection.weight", "text_projection"),
)
OPENAI_TEXT = (
    ("text_model.embeddings.token_embedding.", "token_embedding."),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_model.encoder.layers.", "transformer.resblocks."),
)
OPENAI_LAYER = (
    (".self_attn.", ".attn."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
)


def renamed(target: str, names: Names) -> str:
    """Return the checkpoint's name of a tensor of transformers' model."""
    for theirs, checkpoint in names:
        target = target.replace(theirs, checkpoint)
    return target


def openai_part(target: str, names: Names = (*OPENAI_IMAGE, *OPENAI_TEXT, *OPENAI_LAYER)) -> Part:
    """Say where a checkpoint keeps a tensor of transformers' model.

    Args:
        target: name of the model's tensor.
        names: transformers' names -> the checkpoint's.
    """
    name = renamed(target, names)
    found = re.fullmatch(r"(.*\.attn\.)([qkv])_proj\.(weight|bias)", name)
    if found:
        name = f"{found[1]}in_proj_{found[3]}"
    return Part(name, "qkv".index(found[2]) if found else None, target.endswith("_projection.weight"))


def fill(
    model: nn.Module,
    parts: dict[str, Part],
    weights: dict[str, Tensor],
    where: Path,
    is_unused: Callable[[str], bool],
    config: str = "config.json",
) -> None:
    """Give a model the weights of a checkpoint, all of them, as float32.

    Args:
        model: of transformers; may be on the device meta.
        parts: name of each of its tensors -> where the checkpoint keeps it.
        weights: of the checkpoint.
        where: its file, for errors.
        is_unused: tells a tensor's name that no embedding depends on.
        config: what errors call the file that the model was built by.

    Raises:
        UserError: a tensor is missing, unexpected, misshapen, or not finite.
    """
    used = {part.name for part in parts.values()}
    missing = sorted(used - set(weights))
    extra = sorted(name for name in set(weights) - used if not is_unused(name))
    if missing:
        raise UserError(f"{where} lacks {_some(missing)}, which {config} asks for. Do the two belong together?")
    if extra:
        raise UserError(f"{where} has {_some(extra)}, which {config} does not ask for. Do the two belong together?")
    state = {}
    for target, wanted in model.state_dict().items():
        state[target] = _take(weights[parts[target].name], parts[target], list(wanted.shape), where, config)
    model.load_state_dict(state, assign=True)


def _take(held: Tensor, part: Part, shape: list[int], where: Path, config: str) -> Tensor:
    """Take what makes a tensor of the model, as float32."""
    wanted = shape[::-1] if part.transposed else shape
    if part.third is not None:
        wanted = [3 * wanted[0], *wanted[1:]]
    if list(held.shape) != wanted or not held.dtype.is_floating_point or held.is_sparse:
        raise UserError(
            f"{where}: {part.name} is {held.dtype} {list(held.shape)}, {config} asks for floats {wanted}. Do the "
            "two belong together?"
        )
    if not held.isfinite().all():
        raise UserError(f"{where}: {part.name} holds values that are no finite numbers.")
    taken = held if part.third is None else held.chunk(3)[part.third]
    return (taken.T if part.transposed else taken).float().contiguous().clone()


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more tensors" if len(names) > 3 else "")
