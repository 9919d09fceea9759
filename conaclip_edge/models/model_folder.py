"""What lies at a path where a model is meant, by names alone: found before any large library is imported."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conaclip_edge.errors import UserError
from conaclip_edge.models.transformers_folder import OPEN_CLIP_CONFIG, is_easynlp, is_open_clip, present
from conaclip_edge.system.files import read_json

EXAMPLE = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
# file -> what a folder with it is, in the words of an error; the first that is there counts
_KINDS = {
    "manifest.json": "a bundle",
    "pictures.sqlite": "an index",
    "report.json": "a report",
    "site.json": "a site",
    "model_index.json": "a pipeline of diffusers",
    "modules.json": "a model of sentence-transformers",
    "open_clip_config.json": "a model of OpenCLIP",
    "metadata.jsonl": "a data set",
    "metadata.csv": "a data set",
}
_DUAL_ENCODERS = (
    *("conaclip-edge-teacher", "clip", "siglip", "siglip2", "chinese_clip", "altclip"),
    *("metaclip_2", "vision-text-dual-encoder"),
)
_ARRAYS = ("modules.json",)  # of sentence-transformers: a list
_MOST_JSON = 8 * 2**20  # bytes; takes 0.1 s
_PICKLED = (".bin", ".pt", ".pth", ".pkl")


def check_teacher(source: str) -> dict[str, Any] | None:
    """Refuse what is no teacher.

    Args:
        source: folder or hub name.

    Returns:
        Content of its config.json (of OpenCLIP: open_clip_config.json); None for a hub name.

    Raises:
        UserError: it is something else, or lacks config.json or weights.
    """
    if not source.strip():
        raise UserError(f"the name of the teacher is empty. Give a folder, or a hub name such as {EXAMPLE}.")
    folder = Path(source)
    if not _there(folder, f"teacher {source}"):
        if not source.startswith((".", "/", "~")) and source.count("/") == 1 and not folder.is_symlink():
            return None
        raise UserError(_no_teacher(source, ""))
    if is_open_clip([path.name for path in folder.iterdir()]):
        return read_config(folder, OPEN_CLIP_CONFIG)
    if not (folder / "config.json").is_file():
        raise UserError(_no_teacher(source, what_is(folder)))
    config = read_config(folder)
    if config.get("model_type") == "conaclip-edge":
        raise UserError(f"teacher {source} is a student of conaclip-edge. Name the teacher it was distilled from.")
    if "conaclip_edge" not in config and is_easynlp(config):
        raise UserError(
            f"teacher {source} is a checkpoint of EasyNLP. Convert it once: conaclip-edge convert {source} "
            "--out teacher"
        )
    if config.get("model_type") not in _DUAL_ENCODERS and not config.keys() & {"text_config", "vision_config"}:
        kind = str(config.get("model_type"))[:50]
        raise UserError(
            f"teacher {source} is no dual encoder: its config.json says model_type '{kind}' and describes no two "
            f"towers. Name a CLIP, a SigLIP or the like, e.g. {EXAMPLE}."
        )
    check_json(folder)
    return config


def check_teachers(sources: Sequence[str]) -> None:
    """Refuse the first that is no teacher; arguments and errors as of `check_teacher`."""
    for source in sources:
        check_teacher(source)


def check_model(folder: Path) -> None:
    """Refuse what is no folder of a teacher, a checkpoint or a bundle.

    Raises:
        UserError: what it is instead.
    """
    known = "a folder of a teacher, a checkpoint or a bundle is needed."
    if not _there(folder, f"model {folder}"):
        raise UserError(f"no model at {folder}: {known}")
    if (folder / "manifest.json").is_file():
        return
    if is_open_clip([path.name for path in folder.iterdir()]):
        check_teacher(str(folder))
        return
    if not (folder / "config.json").is_file():
        raise UserError(f"no model at {folder}: {known} It is {what_is(folder)}.")
    read_config(folder)


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Return the content of a model's config file; a UserError if it cannot be read or holds no keys."""
    config = read_json(folder / name, "model config")
    if not isinstance(config, dict):
        raise UserError(f"{folder / name} must hold keys and values, not {type(config).__name__}.")
    return config


def check_json(folder: Path) -> None:
    """Refuse a model whose JSON files hold anything but keys and values; large ones are left to who reads them."""
    for path in present(folder, ("*.json",)):
        if path.name in _ARRAYS or path.stat().st_size > _MOST_JSON:
            continue
        content = read_json(path, "file of the model")
        if not isinstance(content, dict):
            raise UserError(f"{path} must hold keys and values, not {type(content).__name__}. Fetch it again.")


def what_is(folder: Path) -> str:
    """Say what an existing folder is, for an error."""
    try:
        kind = next((kind for name, kind in _KINDS.items() if (folder / name).is_file()), "")
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return f"a folder that cannot be looked into ({error.strerror})"
    if not names:
        return "an empty folder"
    pickled = [name for name in names if name.endswith(_PICKLED)]
    return kind or f"a folder of {', '.join((pickled or names)[:3])}{' and more' if len(names) > 3 else ''}"


def _there(folder: Path, what: str) -> bool:
    """Return whether anything is at a path; anything but a folder is a UserError."""
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise UserError(f"{what} cannot be looked at: {getattr(error, 'strerror', None) or error}.") from error
    if not stat.S_ISDIR(mode):
        raise UserError(f"{what} is no folder. Name the folder that its config.json is in.")
    return True


def _no_teacher(source: str, found: str) -> str:
    there = f" There is {found}." if found else ""
    return (
        f"no teacher at {source}: a folder with config.json and model.safetensors is needed (of OpenCLIP: "
        f"{OPEN_CLIP_CONFIG} and open_clip_model.safetensors), or a hub name such as {EXAMPLE}.{there} The demo's: "
        f"conaclip-edge train-teacher --out {source}"
    )
