"""The built wheel, for all tests of what is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `make` builds it, from a copy, so that nothing is left in the source folder."""
    home = tmp_path_factory.mktemp("wheel")
    (home / "source").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "conaclip_edge"):
        (home / "source" / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(home), str(home / "source")], check=True, capture_output=True)
    (path,) = home.glob("*.whl")
    return path
