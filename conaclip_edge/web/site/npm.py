"""The JavaScript that a site is built with: fetched once by npm at pinned versions, then kept in the user's cache."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.system.files import atomic_folder, sha256_text, write_json
from conaclip_edge.system.folders import user_cache

# what the page imports -> its path among npm's packages
MODULES = {
    "ort.wasm.bundle.min.mjs": "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm": "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "tokenizers.min.mjs": "@huggingface/tokenizers/dist/tokenizers.min.mjs",
    "tokenizers.LICENSE": "@huggingface/tokenizers/LICENSE",
}
_VERSIONS = "versions.json"  # package -> version, beside them
_PINS = ("package.json", "package-lock.json")


def site_modules() -> Path:
    """Return a folder with the files of `MODULES`; npm is run if this version of them is not in the cache.

    Raises:
        UserError: npm is missing or fails.
    """
    pins = files("conaclip_edge.web") / "modules"
    texts = {name: (pins / name).read_text("utf-8") for name in _PINS}
    folder = user_cache() / f"site-{sha256_text(*texts.values(), *MODULES.values(), 'versions.json')[:16]}"
    if folder.is_dir():
        return folder
    program = shutil.which("npm")
    if program is None:
        raise UserError(
            "npm is not installed; it fetches onnxruntime for the browser, once. "
            "Get it: sudo apt-get install nodejs npm, or from https://nodejs.org."
        )
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as scratch:
        with as_file(pins) as source:
            for name in _PINS:
                shutil.copy(source / name, scratch)
        _run(program, Path(scratch))
        with atomic_folder(folder, None) as temporary:
            for name, source_name in MODULES.items():
                shutil.copy(Path(scratch) / "node_modules" / source_name, temporary / name)
            write_json(temporary / _VERSIONS, json.loads(texts["package.json"])["dependencies"])
    return folder


def _run(program: str, folder: Path) -> None:
    """Install what the lock file pins; npm compares each package with its hash there."""
    command = [program, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("npm") and line.split()[2:]]
        reason = " ".join(lines[:3]) or f"exit code {done.returncode}"
        raise UserError(
            f"npm could not fetch onnxruntime for the browser: {reason[:300]}. "
            "Look at the network and at the registry that 'npm config get registry' names, then run it again."
        )
