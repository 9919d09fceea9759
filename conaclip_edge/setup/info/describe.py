"""`info PATH`: finds out what lies at a path, by names first, and describes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from conaclip_edge.bundle.members import MANIFEST
from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.data_formats import check_path
from conaclip_edge.config.infer_format import is_data_file
from conaclip_edge.errors import UserError
from conaclip_edge.models.transformers_folder import OPEN_CLIP_CONFIG
from conaclip_edge.runtime.open_tower import RUNTIMES
from conaclip_edge.search.sqlite_checks import FILE as INDEX_FILE
from conaclip_edge.setup.data_summary import summarise
from conaclip_edge.setup.info.description import Description, Fact, quoted
from conaclip_edge.setup.info.models import describe_model
from conaclip_edge.setup.info.products import describe_bundle, describe_index, describe_report, describe_run
from conaclip_edge.setup.info.recipes import describe_yaml

SECONDS = 5.0  # that pictures of a data folder are decoded for
KNOWN = (
    "a recipe, study, suite or target (.yaml), a data folder or file, a teacher, a student, a bundle, an index, a "
    "report.json, or a folder of runs"
)
# file in a folder -> what the folder is; the first that is there counts
_FOLDERS: dict[str, Callable[[Path], Description]] = {
    MANIFEST: describe_bundle,
    INDEX_FILE: describe_index,
    "recipe.json": describe_run,
    "config.json": describe_model,
    OPEN_CLIP_CONFIG: describe_model,
    "report.json": lambda folder: describe_report(folder / "report.json"),
    "speed.json": lambda folder: describe_report(folder / "speed.json"),
    "study.json": lambda folder: describe_report(folder / "study.json"),
}


def describe(path: Path) -> Description:
    """Describe what lies at a path.

    Raises:
        UserError: nothing is there, nothing known, or something damaged.
    """
    if not os.path.lexists(path):
        raise UserError(f"nothing at {path.absolute()}. `info` describes {KNOWN}.")
    check_path(path, f"`info` describes {KNOWN}")
    return _file(path) if path.is_file() else _folder(path)


def _file(path: Path) -> Description:
    if path.suffix.lower() in (".yaml", ".yml"):
        return describe_yaml(path)
    if path.name in (*_FOLDERS, "model.safetensors", "training.json", "tokenizer.json"):
        return _folder(path.absolute().parent)
    if path.suffix in RUNTIMES:
        raise UserError(
            f"{path} is an exported tower. Its bundle says more: conaclip-edge info {path.absolute().parents[1]}"
        )
    if is_data_file(path):
        return _data(path)
    if path.suffix == ".json":
        return describe_report(path)
    raise UserError(f"{path} is nothing that `info` knows. It describes {KNOWN}.")


def _folder(path: Path) -> Description:
    found = next((read for name, read in _FOLDERS.items() if (path / name).is_file()), None)
    if found:
        return found(path)
    runs = sorted(each for each in path.iterdir() if each.is_dir() and _is_known(each))
    if runs:
        inside = tuple(_folder(each) for each in runs)
        return Description(
            path=str(path),
            kind="folder of runs",
            facts={},
            next_command=f"conaclip-edge info {quoted(runs[0])}",
            inside=inside,
        )
    return _data(path)


def _is_known(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _FOLDERS)


def _data(path: Path) -> Description:
    found, _ = summarise(DataConfig(path=path), SECONDS)
    facts: dict[str, Fact] = {
        "format": found.format,
        "pictures": found.pictures,
        "with captions": found.captioned,
        "captions": found.captions,
        "splits": found.splits,
        "decoded": found.decoded,
        "broken": found.broken,
        "missing": found.missing,
        "first of these": found.first_broken,
        "letters of the captions, %": {name.title(): round(100 * share, 1) for name, share in found.scripts.items()},
        "licence": found.licence,
    }
    return Description(path=str(path), kind="data", facts=facts, next_command=f"conaclip-edge init {quoted(path)}")
