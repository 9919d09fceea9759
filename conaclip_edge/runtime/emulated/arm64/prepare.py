"""Making the arm64 system: Debian's Python, the runtimes' wheels, and a plugin of qemu that counts instructions.

Each part is a folder that is whole or absent, so a preparation that was interrupted goes on where it was.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated.arm64.cuda_libraries import stand_in_for_cuda
from conaclip_edge.runtime.emulated.arm64.fetch import unpack_debian, unpack_wheels
from conaclip_edge.runtime.emulated.arm64.system import (
    EMULATOR,
    PLUGIN,
    RECORD,
    ROOT,
    SITES,
    Arm64Record,
    emulated_python,
    prepared_arm64,
    read_record,
)
from conaclip_edge.runtime.emulated.device import PACKAGES, host_version
from conaclip_edge.runtime.emulated.qemu import (
    PACKAGE,
    build_plugin,
    counted_into,
    find_program,
    last_line,
    qemu_version,
)
from conaclip_edge.system.files import atomic_folder, read_json, write_json
from conaclip_edge.system.locks import locked
from conaclip_edge.system.progress import say
from conaclip_edge.system.result import Result

# what torch imports; ExecuTorch's Python module links to torch
_OF_TORCH = ("typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec")


class PreparedArm64(Result):
    """An arm64 system that was made.

    Attributes:
        folder: where it is.
        targets: whose files it runs.
        versions: of what it consists of.
        bytes: that it takes on disk.
    """

    folder: Path
    targets: tuple[str, ...]
    versions: dict[str, str]
    bytes: int


def prepare_arm64(folder: Path, targets: tuple[str, ...]) -> PreparedArm64:
    """Make or complete an arm64 system; nothing outside the folder is written, and nothing needs root.

    Args:
        folder: of the system.
        targets: onnx, executorch or both; their runtimes get the versions that this machine has.

    Raises:
        UserError: a program or a package is missing or cannot be fetched, or the system does not work.
    """
    emulator = find_program(EMULATOR, PACKAGE, "the arm64 system")
    find_program("gcc", "gcc libc6-dev", "the arm64 system")
    with locked(folder):
        folder.mkdir(parents=True, exist_ok=True)
        before = _record(folder)
        targets = tuple(target for target in PACKAGES if target in targets or (before and target in before.sites))
        if before and targets == tuple(before.sites) and _whole(folder):
            return _prepared(folder, before)
        (folder / RECORD).unlink(missing_ok=True)  # until all of it is there again
        hashes = _part(folder / ROOT, "Debian's Python for arm64", partial(_system, folder))
        python = _python(folder / ROOT)
        number = python.name.removeprefix("python")
        versions, sites = {"python": number}, {}
        for target in targets:
            wanted = {"numpy": ["numpy"], **_wheels(target)}
            for site, requirements in wanted.items():
                path = folder / SITES / f"{number}-{site}"
                found = _part(path, f"{site} for arm64", partial(_site, folder, requirements, number))
                versions |= found["versions"]
                hashes = {"sha256": hashes["sha256"] | found["sha256"]}
            sites[target] = tuple(f"{SITES}/{number}-{site}" for site in wanted)
        relative = str(python.relative_to(folder))
        build_plugin(folder / PLUGIN, partial(emulated_python, folder, relative), "arm64's Python")
        for target, names in sites.items():
            _try(folder, relative, target, names)
        record = Arm64Record(
            python=relative, emulator=qemu_version(emulator), sites=sites, versions=versions, sha256=hashes["sha256"]
        )
        write_json(folder / RECORD, record.model_dump(mode="json"))
        shutil.rmtree(folder / "downloads", ignore_errors=True)
    return _prepared(folder, record)


def _record(folder: Path) -> Arm64Record | None:
    try:
        return read_record(folder)
    except UserError:
        return None


def _whole(folder: Path) -> bool:
    try:
        prepared_arm64(folder)
    except UserError:
        return False
    return True


def _prepared(folder: Path, record: Arm64Record) -> PreparedArm64:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    versions = {EMULATOR: record.emulator, **record.versions}
    return PreparedArm64(folder=folder, targets=tuple(record.sites), versions=versions, bytes=size)


def _part(path: Path, what: str, make: Callable[[Path], dict[str, dict[str, str]]]) -> dict[str, dict[str, str]]:
    """Make a folder if it is not there; what it was made of is kept in a file inside."""
    note = path / ".made-of.json"
    if not note.is_file():
        say(f"fetching {what}")
        with atomic_folder(path) as into:
            write_json(into / note.name, make(into))
    found: dict[str, dict[str, str]] = read_json(note, "record of a part")
    return found


def _system(folder: Path, into: Path) -> dict[str, dict[str, str]]:
    hashes = unpack_debian(folder / "downloads" / "debian", into)
    # onnxruntime and torch read the host's description of its processor; qemu takes a file of the root first
    (into / "proc").mkdir()
    cpuinfo = files("conaclip_edge.runtime.emulated.arm64").joinpath("cpuinfo").read_bytes()
    (into / "proc" / "cpuinfo").write_bytes(cpuinfo)
    _python(into)
    return {"sha256": hashes}


def _site(folder: Path, requirements: list[str], python: str, into: Path) -> dict[str, dict[str, str]]:
    versions, hashes = unpack_wheels(requirements, python, folder / "downloads" / requirements[0], into)
    if (into / "torch" / "lib").is_dir():
        stand_in_for_cuda(into / "torch" / "lib")
    return {"versions": versions, "sha256": hashes}


def _wheels(target: str) -> dict[str, list[str]]:
    """Return the folders of wheels of a target's runtime: name -> what pip is asked for."""
    package = PACKAGES[target]
    own = host_version(package)
    if not own:
        raise UserError(
            f"this needs {package}, whose version arm64 gets too. Install it: pip install 'conaclip-edge[{target}]'"
        )
    wheels = {f"{package}-{own}": [f"{package}=={own}"]}
    if target == "executorch":
        torch = host_version("torch")
        wheels[f"torch-{torch}"] = [f"torch=={torch}", *_OF_TORCH]
    return wheels


def _python(root: Path) -> Path:
    found = sorted(path for path in (root / "usr" / "bin").glob("python3.*") if path.name[8:].isdigit())
    if not found:
        raise UserError("the packages that apt fetched for arm64 have no Python 3. Look at the sources of apt.")
    return found[-1]


def _try(folder: Path, python: str, target: str, sites: tuple[str, ...]) -> None:
    """Import a runtime once; this also compiles its Python modules, which takes a while under emulation."""
    say(f"trying {PACKAGES[target]} on arm64")
    names = "torch, executorch.extension.pybindings._portable_lib" if target == "executorch" else "onnxruntime"
    code = f"import sys, os; sys.path[:0] = {[str(folder / site) for site in sites]}; import {names}; os._exit(0)"
    command = counted_into(emulated_python(folder, python), "/dev/null")
    done = subprocess.run([*command, "-c", code], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise UserError(f"{PACKAGES[target]} cannot be imported on arm64: {last_line(done.stderr)}.")
