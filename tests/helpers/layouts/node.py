"""Packages of npm, pinned, and scripts that use transformers.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from conaclip_edge.system.files import atomic_folder, sha256_text

_HERE = Path(__file__).parent
_PINS = ("package.json", "package-lock.json")


def packages(home: Path, pins: Path = _HERE / "npm") -> Path:
    """Return a folder with node_modules of a lock file; npm fills it where it is not there yet.

    Args:
        home: that the tests of one run share.
        pins: folder of package.json and package-lock.json.
    """
    folder = home / f"npm-{sha256_text(*((pins / name).read_text('utf-8') for name in _PINS))[:16]}"
    if not folder.is_dir():
        with atomic_folder(folder) as staging:
            for name in _PINS:
                shutil.copy(pins / name, staging)
            quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
            done = subprocess.run(["npm", "ci", *quiet], cwd=staging, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    return folder


def run(modules: Path, script: str, *arguments: str | Path, given: Any) -> Any:
    """Run one of the scripts beside this module in Node.

    Args:
        modules: from `packages`.
        script: name of the file.
        arguments: of it.
        given: JSON for its standard input.
    """
    # a script finds its packages from where it lies
    shutil.copy(_HERE / script, modules)
    command = ["node", script, *(str(Path(one).resolve()) for one in arguments)]
    done = subprocess.run(command, cwd=modules, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
