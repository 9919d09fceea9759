"""constraints.txt pins all that `make test` installs, within the bounds of pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LINES = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
PINS = {canonicalize_name(name): version for name, version in (line.split("==") for line in LINES)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def direct() -> list[Requirement]:
    """Return what pyproject.toml asks for, extras of its own left out."""
    texts = [*PROJECT["dependencies"], *(text for group in PROJECT["optional-dependencies"].values() for text in group)]
    found = [Requirement(text) for text in texts]
    return [one for one in found if one.name != PROJECT["name"]]


def installed(extras: set[str]) -> set[str]:
    """Return the names of everything that the installed packages need, from the project's extras on."""
    seen: set[str] = set()
    todo = [(one.name, frozenset(one.extras)) for one in wanted(PROJECT["name"], extras)]
    while todo:
        name, more = todo.pop()
        key = canonicalize_name(name)
        if key not in seen:
            seen.add(key)
            todo += [(one.name, frozenset(one.extras)) for one in wanted(name, set(more))]
    return seen - {canonicalize_name(PROJECT["name"])}


def wanted(name: str, extras: set[str]) -> list[Requirement]:
    found = [Requirement(text) for text in metadata.requires(name) or []]
    return [
        one
        for one in found
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in {"", *extras})
    ]


def test_every_line_pins_one_version() -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in LINES)
    assert len(PINS) == len(LINES)
    assert [line.lower() for line in LINES] == sorted(line.lower() for line in LINES)


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    assert direct()
    for one in direct():
        assert one.specifier.contains(PINS[canonicalize_name(one.name)]), one


def test_every_dependency_has_an_upper_bound() -> None:
    unbounded = [one.name for one in direct() if not any(part.operator in ("<", "==", "<=") for part in one.specifier)]
    assert unbounded == ["types-PyYAML"]  # dated versions of types for PyYAML, which has its bound


def test_everything_that_is_installed_is_pinned_to_what_it_is() -> None:
    names = installed(PROJECT["optional-dependencies"].keys() - {"fuzz", "open-clip", "remote"})
    assert len(names) > 80
    for name in sorted(names):
        assert metadata.version(name).split("+")[0] == PINS[name]


def test_every_installation_of_the_makefile_but_that_of_newer_versions_is_pinned() -> None:
    rules = re.split(r"\n(?=\S)", (ROOT / "Makefile").read_text("utf-8"))
    lines = [line for rule in rules if not rule.startswith("lock:") for line in rule.splitlines()]
    installs = [line for line in lines if "pip install" in line and "--no-deps" not in line]
    assert len(installs) >= 4
    assert all("-c constraints.txt" in line for line in installs)
    assert all("PIP_CONSTRAINT=constraints.txt" in line for line in lines if "-m build" in line)
