"""transformers.js as npm has it, pinned, and scripts that use it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from conaclip_edge.system.files import atomic_folder, sha256_text

_HERE = Path(__file__).parent
_PINS = ("package.json", "package-lock.json")


def packages(home: Path) -> Path:
    """Return a folder with node_modules of the lock file; npm fills it where it is not there yet.

    Args:
        home: that the tests of one run share.
    """
    folder = home / f"npm-{sha256_text(*((_HERE / 'npm' / name).read_text('utf-8') for name in _PINS))[:16]}"
    if not folder.is_dir():
        with atomic_folder(folder) as staging:
            for name in _PINS:
                shutil.copy(_HERE / "npm" / name, staging)
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
