"""From a recipe file and --set to a config; without a file, from the demo's, which is part of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conaclip_edge.config.benchmark import BenchmarkConfig, SpeedConfig
from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.distill import DATA, DistillConfig, TeacherConfig
from conaclip_edge.config.parse import load_yaml, override, parse
from conaclip_edge.config.study import StudyConfig
from conaclip_edge.errors import UserError

# a file per command; distill/ and benchmarks/ at the top of the project link to them
_DEMO = Path(__file__).with_name("demo")
_FILES = {"metadata.jsonl": "imagefolder", "metadata.csv": "imagefolder", "*.tar": "webdataset", "*.parquet": "parquet"}


def distill_recipe(path: Path | None, settings: list[str]) -> DistillConfig:
    """Read a distillation recipe.

    Args:
        path: the recipe; None takes the demo's.
        settings: `key=value`, each of which changes one key and leaves the others as the file has them.

    Raises:
        UserError: no such file, an unknown key, a value of another type, or a missing key.
    """
    values, where = _read(path, "distill", "recipe")
    return parse(DistillConfig, override(values, settings), where)


def teacher_recipe(path: Path | None, settings: list[str]) -> TeacherConfig:
    """Read a teacher recipe; arguments and errors as of `distill_recipe`."""
    values, where = _read(path, "train-teacher", "recipe")
    return parse(TeacherConfig, override(values, settings), where)


def study_recipe(path: Path | None, settings: list[str]) -> StudyConfig:
    """Read a study, or the default study of a distillation recipe; arguments and errors as of `distill_recipe`."""
    values, where = _read(path, "study", "study")
    if "student" in values or "graph" in values or "train" in values:  # keys that no study has
        values = {"name": values.get("name", "study"), "recipe": values}
    return parse(StudyConfig, override(values, settings), where)


def benchmark_suite(path: Path | None, settings: list[str], data: Path | None = None) -> BenchmarkConfig | SpeedConfig:
    """Read a benchmark suite; one with `axes` is a speed suite.

    Args:
        path: the suite; None takes the demo's.
        settings: as of `distill_recipe`.
        data: recipe or picture folder; None leaves the suite's own.
    """
    values, where = _read(path, "benchmark", "suite")
    values = override(values, settings)
    if "axes" in values:
        return parse(SpeedConfig, values | ({"data": data} if data else {}), where)
    suite = parse(BenchmarkConfig, values, where)
    return suite.model_copy(update={"data": data_config(data)}) if data else suite


def data_config(source: Path) -> DataConfig:
    """Read the data section of a recipe, or guess the format of a folder by what lies in it.

    Args:
        source: the recipe, or the folder.

    Raises:
        UserError: a file without a valid data section, or a folder without anything known.
    """
    if source.is_file():
        values = load_yaml(source)
        if "data" not in values:
            raise UserError(f"{source} has no 'data': {DATA}.")
        return parse(DataConfig, values["data"], f"{source} (data)")
    for pattern, kind in _FILES.items():
        if any(source.rglob(pattern)):
            return parse(DataConfig, {"format": kind, "path": source}, str(source))
    raise UserError(
        f"no data set at {source}: a recipe (YAML with a data section) is needed, or a folder with one of "
        f"{', '.join(_FILES)}."
    )


def _read(path: Path | None, command: str, kind: str) -> tuple[dict[str, Any], str]:
    """Return the values of a file, without a path of the demo's for this command, and what errors call it."""
    if path:
        return load_yaml(path), str(path)
    return load_yaml(_DEMO / f"{command}.yaml"), f"the demo's {kind}"
