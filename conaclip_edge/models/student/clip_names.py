"""The names of a student's weights in its file: those of transformers' CLIPModel where the towers are CLIP's."""

from __future__ import annotations

# our module names -> transformers' CLIPModel names
_CLIP_NAMES = {"image.vit.": ("vision_model.", "visual_projection."), "text.clip.": ("text_model.", "text_projection.")}


def saved_name(name: str) -> str:
    """Return the name in a file of a weight of a student."""
    for ours in _CLIP_NAMES:
        name = name.removeprefix(ours)
    return name


def loaded_name(name: str) -> str | None:
    """Return the name in a student of a tensor in a file; None for one that is no weight."""
    if name.endswith(".position_ids"):  # which checkpoints of old transformers releases list
        return None
    for ours, theirs in _CLIP_NAMES.items():
        if name.startswith(theirs):
            return ours + name
    return name
