"""What is installed: one top-level package, with the files that its code reads."""

from __future__ import annotations

import zipfile
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

import pytest

from conaclip_edge import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> zipfile.ZipFile:
    """The members of the wheel."""
    return zipfile.ZipFile(wheel_file)


def test_conaclip_edge_is_its_only_top_level_name(wheel: zipfile.ZipFile) -> None:
    tops = {PurePosixPath(name).parts[0] for name in wheel.namelist()}
    assert tops == {"conaclip_edge", f"conaclip_edge-{__version__}.dist-info"}


def test_it_holds_every_module_and_nothing_of_the_tests(wheel: zipfile.ZipFile) -> None:
    built = {name for name in wheel.namelist() if name.startswith("conaclip_edge/") and name.endswith(".py")}
    assert built == {str(path.relative_to(ROOT)) for path in (ROOT / "conaclip_edge").rglob("*.py")}


def test_it_holds_every_file_that_is_not_code(wheel: zipfile.ZipFile) -> None:
    data = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "conaclip_edge").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert data <= set(wheel.namelist())


def test_what_is_installed_has_this_version_and_the_command() -> None:
    installed = distribution("conaclip-edge")
    assert installed.version == __version__
    (script,) = (point for point in installed.entry_points if point.group == "console_scripts")
    assert (script.name, script.value) == ("conaclip-edge", "conaclip_edge.cli.main:main")
    assert installed.metadata["License-Expression"] == "Apache-2.0"
