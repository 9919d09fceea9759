"""From a recipe file and --set to a config; without a file, the demo's."""

from __future__ import annotations

import copy
from pathlib import Path

from conaclip_edge.config.benchmark import BenchmarkConfig, SpeedConfig
from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.distill import DistillConfig, TeacherConfig
from conaclip_edge.config.parse import load_yaml, override, parse
from conaclip_edge.config.study import StudyConfig
from conaclip_edge.errors import UserError

# what the demo's recipe has beside the defaults: a recipe that names no synthetic texts gets none
DEMO = {"synthetic": {"texts": 12_000}, "train": {"unpaired_texts": 256}}
_FILES = {"metadata.jsonl": "imagefolder", "metadata.csv": "imagefolder", "*.tar": "webdataset", "*.parquet": "parquet"}


def distill_recipe(path: Path | None, settings: list[str]) -> DistillConfig:
    """Read a distillation recipe; without a path, the demo's."""
    values = load_yaml(path) if path else copy.deepcopy(DEMO)
    return parse(DistillConfig, override(values, settings), str(path or "the default recipe"))


def teacher_recipe(path: Path | None, settings: list[str]) -> TeacherConfig:
    """Read a teacher recipe."""
    return parse(TeacherConfig, override(load_yaml(path) if path else {}, settings), str(path or "the default recipe"))


def study_recipe(path: Path | None, settings: list[str]) -> StudyConfig:
    """Read a study; a distillation recipe stands for the default study of it."""
    values, where = load_yaml(path) if path else {"recipe": copy.deepcopy(DEMO)}, str(path or "the default study")
    if "student" in values or "graph" in values or "train" in values:  # keys that no study has
        values = {"name": values.get("name", "study"), "recipe": values}
    return parse(StudyConfig, override(values, settings), where)


def benchmark_suite(path: Path | None, settings: list[str]) -> BenchmarkConfig | SpeedConfig:
    """Read a benchmark suite; one with `axes` is a speed suite."""
    values, where = override(load_yaml(path) if path else {}, settings), str(path or "the default suite")
    if "axes" in values:
        return parse(SpeedConfig, values, where)
    return parse(BenchmarkConfig, values, where)


def data_config(source: Path) -> DataConfig:
    """Read the data section of a recipe, or guess the format of a folder by what lies in it."""
    if source.is_file():
        return parse(DataConfig, load_yaml(source).get("data", {}), f"{source} (data)")
    for pattern, kind in _FILES.items():
        if any(source.rglob(pattern)):
            return parse(DataConfig, {"format": kind, "path": source}, str(source))
    raise UserError(
        f"no data set at {source}: a recipe (YAML with a data section) is needed, or a folder with one of "
        f"{', '.join(_FILES)}."
    )
