"""From a recipe file and --set to a config; without a file, from the demo's, which is part of the package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from conaclip_edge.config.benchmark import BenchmarkConfig, SpeedConfig
from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.data_formats import check_keys, check_path, check_source
from conaclip_edge.config.distill import DATA, DistillConfig, TeacherConfig
from conaclip_edge.config.infer_format import is_data_file, with_format
from conaclip_edge.config.parse import load_yaml, override, parse
from conaclip_edge.config.study import StudyConfig
from conaclip_edge.errors import UserError

# a file per command; distill/ and benchmarks/ at the top of the project link to them
_DEMO = Path(__file__).with_name("demo")
_LEFT_OUT = "Correct the path, or leave it out: then the demo's is taken."
# command -> what to do where its file is not there
_WAYS_OUT = {"distill": "Write one for your pictures: conaclip-edge init PICTURES --teacher MODEL"}


def distill_recipe(path: Path | None, settings: list[str], check: bool = False) -> DistillConfig:
    """Read a distillation recipe.

    Args:
        path: the recipe; None takes the demo's.
        settings: `key=value`, each of which changes one key and leaves the others as the file has them.
        check: whether the data have to be there.

    Raises:
        UserError: no such file, an unknown key, a value of another type, or a missing key; no data.
    """
    values, where = _read(path, "distill", "recipe")
    return _with_format(parse(DistillConfig, override(values, settings), where), where, check)


def teacher_recipe(path: Path | None, settings: list[str], check: bool = False) -> TeacherConfig:
    """Read a teacher recipe; arguments and errors as of `distill_recipe`."""
    values, where = _read(path, "train-teacher", "recipe")
    return _with_format(parse(TeacherConfig, override(values, settings), where), where, check)


def study_recipe(path: Path | None, settings: list[str], check: bool = False) -> StudyConfig:
    """Read a study, or the default study of a distillation recipe; arguments and errors as of `distill_recipe`."""
    values, where = _read(path, "study", "study")
    if values.keys() & (DistillConfig.model_fields.keys() - StudyConfig.model_fields.keys()):  # keys that no study has
        values = {"name": values.get("name", "study"), "recipe": values}
    study = parse(StudyConfig, override(values, settings), where)
    return study.model_copy(update={"recipe": _with_format(study.recipe, where, check)})


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
    chosen = data_config(data) if data else suite.data and _checked(suite.data, where)
    return suite.model_copy(update={"data": chosen})


def data_config(source: Path) -> DataConfig:
    """Read the data section of a recipe, or find the format of a folder or file by what it holds.

    Args:
        source: the recipe, or the folder or file with the data.

    Raises:
        UserError: nothing there, a recipe without a valid data section, or nothing known (or several formats) there.
    """
    if not os.path.lexists(source):
        raise UserError(f"no recipe, file or folder {source.absolute()} to read data from. Correct the path.")
    source = check_path(source, "Correct the path")
    if not source.is_dir() and not is_data_file(source):
        values = load_yaml(source)
        if "data" not in values:
            raise UserError(f"{source} has no 'data': {DATA}.")
        where = f"{source} (data)"
        return _checked(parse(DataConfig, values["data"], where), where)
    return with_format(DataConfig(path=source))


R = TypeVar("R", DistillConfig, TeacherConfig)


def _with_format(recipe: R, where: str, check: bool) -> R:
    """Return a recipe whose data section has a format and no key that it does not read."""
    data = _checked(recipe.data, where)
    if check:
        check_source(data)
    return recipe.model_copy(update={"data": data})


def _checked(data: DataConfig, where: str) -> DataConfig:
    """Return a data section without a key that its format does not read; what lies at a URL is not looked at yet."""
    check_keys(data, where)
    return data if data.format or data.url else with_format(data)


def _read(path: Path | None, command: str, kind: str) -> tuple[dict[str, Any], str]:
    """Return the values of a file, without a path of the demo's for this command, and what errors call it."""
    if path:
        return load_yaml(path, kind, _WAYS_OUT.get(command, _LEFT_OUT)), str(path)
    return load_yaml(_DEMO / f"{command}.yaml"), f"the demo's {kind}"
