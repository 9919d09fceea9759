"""What is installed: one top-level package, with the files that its code reads."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

import pytest

from conaclip_edge import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as `make` builds it, from a copy, so that nothing is left in the source folder."""
    home = tmp_path_factory.mktemp("wheel")
    (home / "source").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "conaclip_edge"):
        (home / "source" / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(home), str(home / "source")], check=True, capture_output=True)
    (path,) = home.glob("*.whl")
    return zipfile.ZipFile(path)


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
