"""YAML files: recipes, studies, suites and export targets, recognised by their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conaclip_edge.config.base import Config
from conaclip_edge.config.benchmark import BenchmarkConfig, SpeedConfig
from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.distill import DistillConfig, TeacherConfig
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.config.load import benchmark_suite, distill_recipe, study_recipe, teacher_recipe
from conaclip_edge.config.parse import load_yaml, parse
from conaclip_edge.config.study import StudyConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.targets import find_target
from conaclip_edge.setup.info.description import Description, Fact, Kind, quoted

_KINDS: dict[Kind, type[Config]] = {
    "distillation recipe": DistillConfig,
    "teacher recipe": TeacherConfig,
    "study": StudyConfig,
    "benchmark suite": BenchmarkConfig,
    "speed suite": SpeedConfig,
    "export target": ExportConfig,
}


def describe_yaml(path: Path) -> Description:
    """Describe a YAML file, and check it as its command does.

    Raises:
        UserError: keys of none of the kinds, or what the command itself would refuse.
    """
    values = load_yaml(path)
    kind = _kind_of(values)
    if kind is None:
        known = ", ".join(_KINDS)
        raise UserError(f"{path} has none of the keys of a file that conaclip-edge reads. Known: {known}.")
    facts, command = _FACTS[kind](path, values)
    return Description(path=str(path), kind=kind, facts=facts, next_command=command)


def _kind_of(values: dict[str, Any]) -> Kind | None:
    """Return the kind with the most of the keys; None if none has any."""
    known = {kind: len(values.keys() & config.model_fields.keys()) for kind, config in _KINDS.items()}
    best = max(known, key=lambda kind: known[kind])
    return best if known[best] else None


def _distillation(path: Path, values: dict[str, Any]) -> tuple[dict[str, Fact], str]:
    recipe = distill_recipe(path, [])
    size = recipe.student.image.get("size")
    terms = ", ".join(f"{term.edge}/{term.loss}" for term in recipe.graph.terms)
    facts: dict[str, Fact] = {
        "name": recipe.name,
        "data": _data(recipe.data),
        "teacher": " + ".join(recipe.all_teachers),
        "student": recipe.student.preset + (f" at {size} pixels" if size else ""),
        "vocabulary": "pruned to the captions" if recipe.student.vocab.keep == "corpus" else "the teacher's",
        "graph": terms or str(recipe.graph.preset),
        "synthetic": {"pictures": recipe.synthetic.pictures, "texts": recipe.synthetic.texts},
        "steps": recipe.train.steps,
        "int8 steps": recipe.train.qat.steps if recipe.train.qat else None,
        "batch size": recipe.train.batch_size,
    }
    return facts, f"conaclip-edge distill {quoted(path)}"


def _teacher(path: Path, values: dict[str, Any]) -> tuple[dict[str, Fact], str]:
    recipe = teacher_recipe(path, [])
    facts: dict[str, Fact] = {
        "name": recipe.name,
        "data": _data(recipe.data),
        "base": recipe.base or "two packaged towers, joined by a head",
        "steps": recipe.steps,
        "batch size": recipe.batch_size,
    }
    return facts, f"conaclip-edge train-teacher {quoted(path)}"


def _study(path: Path, values: dict[str, Any]) -> tuple[dict[str, Fact], str]:
    study = study_recipe(path, [])
    facts: dict[str, Fact] = {
        "name": study.name,
        "data": _data(study.recipe.data),
        "teacher": " + ".join(study.recipe.all_teachers),
        "seeds": study.seeds,
        "steps per run": study.recipe.train.steps,
    }
    return facts, f"conaclip-edge study {quoted(path)}"


def _suite(path: Path, values: dict[str, Any]) -> tuple[dict[str, Fact], str]:
    suite = benchmark_suite(path, [])
    facts: dict[str, Fact] = {name: values[name] for name in ("split", "inputs", "index") if name in values}
    if isinstance(suite, SpeedConfig):
        facts = {"axes": tuple(map(str, suite.axes))}
    return facts, f"conaclip-edge benchmark BUNDLE --suite {quoted(path)}"


def _target(path: Path, values: dict[str, Any]) -> tuple[dict[str, Fact], str]:
    config = parse(ExportConfig, values, str(path))
    find_target(config)
    facts: dict[str, Fact] = {"target": config.target, "precision": config.precision}
    return facts, f"conaclip-edge export --target {quoted(path)}"


_FACTS = {
    "distillation recipe": _distillation,
    "teacher recipe": _teacher,
    "study": _study,
    "benchmark suite": _suite,
    "speed suite": _suite,
    "export target": _target,
}


def _data(data: DataConfig) -> str:
    there = "" if data.path is None or data.path.expanduser().exists() else " (which is not there)"
    return f"{data.path}{there}, format {data.format}" if data.path else f"format {data.format}"
