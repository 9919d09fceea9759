"""From YAML and `--set` to plain values, and from those to a config; errors name the key, and the nearest known one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from conaclip_edge.errors import UserError, unknown
from conaclip_edge.system.files import require_file

C = TypeVar("C", bound=BaseModel)

MAX_NODES = 10_000  # values in a YAML file; a few aliases of aliases would stand for billions
MAX_DEPTH = 50  # of groups in groups; the library's time grows with the square of it
MAX_CHARACTERS = 200_000  # its time grows with these, too: about 10 s per million


def parse(kind: type[C], values: object, where: str) -> C:
    """Validate plain values as a config or a result.

    Args:
        kind: its class.
        values: keys and values, as JSON or YAML have them.
        where: what errors call their source, e.g. the file.

    Raises:
        UserError: an unknown key (with the nearest known one), a missing one (with what it means), or a wrong value.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} must hold keys and values, not {type(values).__name__}.")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        # a misspelt key may also leave a required one missing: its own error says more
        first = min(error.errors(), key=lambda each: {"extra_forbidden": 0, "missing": 2}.get(each["type"], 1))
        path = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            raise unknown("key", path[-1], _fields(kind, path[:-1]), where=f"{where} ({'.'.join(path)})") from None
        if first["type"] == "missing":
            field = _fields(kind, path[:-1]).get(path[-1])
            meant = f": {field.description}" if field and field.description else ""
            raise UserError(f"{where} has no '{'.'.join(path)}'{meant}.") from None
        if first["type"] == "model_type":
            keys = ", ".join(sorted(_fields(kind, path)))
            shown = _shown(first["input"])
            raise UserError(f"{where}: '{'.'.join(path)}' has keys of its own ({keys}), got {shown}.") from None
        raise UserError(f"{where}: '{'.'.join(path)}': {first['msg']}, got {_shown(first['input'])}.") from None


def _shown(value: object) -> str:
    """Write a value so that it fits a line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python does not write out numbers of thousands of digits
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _fields(kind: type[BaseModel], path: list[str]) -> dict[str, FieldInfo]:
    """Return the fields at a path of keys; positions in lists and keys of mappings in the path are passed over."""
    fields = {field.alias or name: field for name, field in kind.model_fields.items()}
    for number, key in enumerate(path):
        inner = _models(fields[key].annotation) if key in fields else []
        if inner:
            return {name: field for model in inner for name, field in _fields(model, path[number + 1 :]).items()}
    return fields


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a type names at any depth, e.g. those of `tuple[Term, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def load_yaml(path: Path, kind: str = "recipe", way_out: str = "Correct the path.") -> dict[str, Any]:
    """Read a YAML file of plain values.

    Args:
        path: the file.
        kind: what errors call it.
        way_out: what to do where there is no such file.

    Raises:
        UserError: no such file, no YAML, a tag that makes an object, values too many or too deep, or no mapping.
    """
    try:
        require_file(path)
        values = _plain(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no {kind} at {path}. {way_out}") from None
    except UnicodeDecodeError:
        raise UserError(f"cannot read {path}: it is no text (UTF-8), so no {kind}.") from None
    # impossible dates and numbers are ValueErrors and the like of the library's constructors
    except (OSError, yaml.YAMLError, RecursionError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        kind = "nothing: it is empty" if values is None else type(values).__name__
        raise UserError(f"{path} must hold keys and values, not {kind}.")
    return values


class _Loader(yaml.SafeLoader):
    """Stops as soon as there are too many values, or too many groups in groups."""

    _depth = _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        self._nodes += 1
        if self._nodes > MAX_NODES or self._depth > MAX_DEPTH:
            raise yaml.YAMLError(f"holds more than {MAX_NODES} values, or more than {MAX_DEPTH} groups in each other")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _plain(text: str) -> Any:
    """Read YAML as plain values: no tags that make objects, no aliases that stand for more than `MAX_NODES` values."""
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"has more than {MAX_CHARACTERS} characters")
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        if _size(root, {}) > MAX_NODES:
            raise yaml.YAMLError(f"holds more than {MAX_NODES} values, aliases (*name) written out")
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Count a node and all that is in it, aliases written out; one that holds itself counts as too many."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1  # until it is counted
        inner = [] if isinstance(node, yaml.ScalarNode) else node.value
        children = (part for one in inner for part in (one if isinstance(one, tuple) else (one,)))
        known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return known[id(node)]


def override(values: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Apply `--set` settings to plain values.

    Args:
        values: keys and values, which are changed.
        settings: each `key.sub=value`; the value is read as YAML, and groups that are missing are made.

    Returns:
        The same values.

    Raises:
        UserError: no `=`, a value that is no YAML, or a key below one that holds a value.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--set takes key=value, got '{setting}'. Example: --set train.steps=100")
        *parents, last = key.split(".")
        group = values
        for parent in parents:
            child = group.setdefault(parent, {})
            if not isinstance(child, dict):
                raise UserError(f"--set {setting}: '{parent}' is a value, not a group of keys.")
            group = child
        try:
            group[last] = _plain(text)
        except (yaml.YAMLError, RecursionError, ValueError, TypeError, LookupError, AttributeError):
            raise UserError(f"--set {setting[:200]}: cannot read the value '{text[:200]}'.") from None
    return values
