"""Writes the reference pages of the documentation from the code: python -m tests.tools.reference.

Commands come from the command line's own help, keys of recipes, targets and suites from their pydantic models, the
files of bundles and reports from theirs, and the Python API from its docstrings. A test compares the pages with the
code.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.main import get_command

import conaclip_edge
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.bundle.manifest import Manifest
from conaclip_edge.cli.main import app
from conaclip_edge.config.benchmark import BenchmarkConfig, SpeedConfig
from conaclip_edge.config.data_formats import FORMATS
from conaclip_edge.config.distill import DistillConfig, FurtherTeacher, TeacherConfig
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.config.graph import PRESETS, Term
from conaclip_edge.config.model import ImageTowerConfig, TextTowerConfig
from conaclip_edge.config.study import SizeConfig, StudyConfig
from conaclip_edge.distill.supervisions import SUPERVISIONS
from conaclip_edge.export.targets import TARGETS

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "reference"
MADE = "<!-- made by: python -m tests.tools.reference -->\n\n"
WIDTH = 80


def pages() -> dict[str, str]:
    """Return the text of each generated page, by its name."""
    return {
        "commands.md": _commands(),
        "recipes.md": _recipes(),
        "targets.md": _targets(),
        "suites.md": _suites(),
        "bundle-format.md": _schema("Bundle format", "`manifest.json` of a bundle.", Manifest),
        "report-format.md": _schema("Report format", "`report.json` of a benchmark.", BenchmarkReport),
        "python.md": _python(),
    }


def _commands() -> str:
    group: Any = get_command(app)
    parts = [_title("Commands", "What `conaclip-edge COMMAND --help` says.")]
    for name, command in group.commands.items():
        context = type(group).context_class(command, info_name=f"conaclip-edge {name}")
        context.terminal_width = context.max_content_width = WIDTH
        parts.append(f"## {name}\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


def _recipes() -> str:
    intro = "Keys of a recipe file. `--set train.steps=100` changes one key without touching the file."
    terms = ["| Preset | Terms: edge or learning type / loss (weight, temperature) |", "|---|---|"]
    for name, preset in PRESETS.items():
        shown = (f"{one.edge}/{one.loss} ({one.weight:g}, {_temperature(one.temperature)})" for one in preset)
        terms.append(f"| `{name}` | {'; '.join(shown)} |")
    losses = ["| Loss | Name | Learning types | Needs pairs on |", "|---|---|---|---|"]
    losses += [
        f"| `{name}` | {row.title} | {', '.join(row.learning_types)} | {', '.join(row.needs_pairs) or '-'} |"
        for name, row in SUPERVISIONS.items()
    ]
    formats = ["| Format | What it reads | Keys of `data` |", "|---|---|---|"]
    formats += [
        f"| `{name}` | {row.what} | {', '.join(f'`{key}`' for key in row.keys)} |" for name, row in FORMATS.items()
    ]
    return "\n".join(
        [
            _title("Recipes", intro),
            "## Distillation (`distill`, `cache`, `compare`)\n",
            *_keys(DistillConfig),
            "## FurtherTeacher\n\nOne of `teachers`.\n",
            *_keys(FurtherTeacher),
            "## Term\n\nOne term of `graph.terms`.\n",
            *_keys(Term),
            "## Image tower (`student.image`)\n",
            *_keys(ImageTowerConfig),
            "## Text tower (`student.text`)\n",
            *_keys(TextTowerConfig),
            "## Teacher (`train-teacher`)\n",
            *_keys(TeacherConfig),
            "## Study (`study`)\n",
            *_keys(StudyConfig, leave=("recipe",)),
            "## SizeConfig\n\nOne size of `sizes`.\n",
            *_keys(SizeConfig),
            "## Data formats\n",
            *formats,
            "\n## Losses\n",
            *losses,
            "\n## Graph presets\n",
            "A temperature of `learned` is the student's logit_scale.\n",
            *terms,
            "",
        ]
    )


def _temperature(value: float | None) -> str:
    return "learned" if value is None else f"{value:g}"


def _targets() -> str:
    rows = ["| Target | Precision | What is done | Runs on a device by |", "|---|---|---|---|"]
    for name, target in TARGETS.items():
        for precision, what in target.precisions.items():
            backends = ", ".join((target.backend, *target.other_backends))
            rows.append(f"| `{name}` | `{precision}` | {what} | {backends} |")
    intro = "Keys of an export target file; `--set KEY=VALUE` changes one."
    return "\n".join([_title("Export targets", intro), *_keys(ExportConfig), "## Targets and precisions\n", *rows, ""])


def _suites() -> str:
    intro = "Keys of a benchmark suite; `--set KEY=VALUE` changes one."
    return "\n".join(
        [
            _title("Benchmark suites", intro),
            "## Report suites\n",
            *_keys(BenchmarkConfig),
            "## Speed suites (with `axes`)\n",
            *_keys(SpeedConfig),
        ]
    )


def _schema(title: str, what: str, model: type[BaseModel]) -> str:
    parts = [_title(title, f"{what} Unknown keys are refused.")]
    for part in models_of(model):
        parts.append(f"## {part.__name__}\n\n{_first_sentence(part)}\n")
        described = _attributes(part)
        parts += ["| Key | Type | What |", "|---|---|---|"]
        for name, field in part.model_fields.items():
            text = field.description or described.get(name, "")
            parts.append(f"| `{field.alias or name}` | {_type(field.annotation)} | {_cell(text)} |")
        parts.append("")
    return "\n".join(parts)


def _python() -> str:
    parts = [_title("Python API", "`import conaclip_edge` costs nothing heavy; each name is imported when it is used.")]
    for name in conaclip_edge.__all__:
        found = getattr(conaclip_edge, name)
        if inspect.isclass(found):
            parts.append(f"## {name}\n\n```text\n{inspect.getdoc(found)}\n```\n")
            for key, member in vars(found).items():
                if not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                    parts.append(_documented(f"{name}.{key}", member, "###"))
        else:
            parts.append(_documented(name, found, "##"))
    return "\n".join(parts)


def _documented(name: str, member: Any, mark: str) -> str:
    shown = name if isinstance(member, property) else f"{name}{_signature(member)}"
    return f"{mark} {name}\n\n```python\n{shown}\n```\n\n```text\n{inspect.getdoc(member)}\n```\n"


def _signature(function: Any) -> str:
    text = str(inspect.signature(function)).replace("'", "").replace("(self, ", "(").replace("(self)", "()")
    return text if len(text) < 100 else re.sub(r", (?=\w+: |\*)", ",\n    ", text)


def _keys(model: type[BaseModel], prefix: str = "", leave: tuple[str, ...] = ()) -> list[str]:
    return ["| Key | Type | Default | What |", "|---|---|---|---|", *_key_rows(model, prefix, leave), ""]


def _key_rows(model: type[BaseModel], prefix: str, leave: tuple[str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        what = _cell(field.description or "")
        inner = next((one for one in _inner(field.annotation) if issubclass(one, BaseModel)), None)
        if name in leave:
            yield f"| `{name}` | all keys above | {_default(field)} | {what} |"
        elif inner is not None and typing.get_origin(field.annotation) is not tuple:
            if type(None) in typing.get_args(field.annotation):
                yield f"| `{prefix}{name}` | the keys below | - | {what} |"
            yield from _key_rows(inner, f"{prefix}{name}.", ())
        else:
            yield f"| `{prefix}{name}` | {_type(field.annotation)} | {_default(field)} | {what} |"


def _inner(annotation: Any) -> Iterator[type]:
    if inspect.isclass(annotation) and not isinstance(annotation, types.GenericAlias):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _inner(argument)


def models_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a model and those that its fields are made of, each once."""
    found: list[type[BaseModel]] = []
    waiting = [model]
    while waiting:
        one = waiting.pop(0)
        if one in found:
            continue
        found.append(one)
        for field in one.model_fields.values():
            waiting += [part for part in _inner(field.annotation) if issubclass(part, BaseModel)]
    return found


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(one) for one in arguments)
    if origin is tuple or origin is list:
        return "list of " + _type(arguments[0])
    if origin is dict:
        return f"{_type(arguments[0])} -> {_type(arguments[1])}"
    if origin is typing.Annotated:
        return _type(arguments[0])
    if annotation in (None, type(None)):
        return "nothing"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "yes or no", "Path": "path", "Any": "any"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, f"[{name}](#{name.lower()})" if _is_model(annotation) else name)


def _is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "**has to be there**"
    if value is None or value == () or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(one) for one in value)}]`"
    return f"`{value}`"


def _attributes(model: type) -> dict[str, str]:
    text = inspect.cleandoc(model.__doc__ or "").partition("Attributes:\n")[2]
    joined = re.sub(r"\n\s{8,}", " ", text)
    return dict(re.findall(r"^\s{4}(\w+): (.*)$", joined, re.M))


def _first_sentence(model: type) -> str:
    return " ".join(inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0].split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _title(title: str, intro: str) -> str:
    return f"{MADE}# {title}\n\n{intro}\n"


if __name__ == "__main__":
    PAGES.mkdir(parents=True, exist_ok=True)
    for file, content in pages().items():
        (PAGES / file).write_text(content, "utf-8")
