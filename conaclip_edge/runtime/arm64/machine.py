"""The arm64 system that exported files are run on: this machine, or one in the cache that qemu emulates."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import ValidationError

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.open_tower import runtime_of
from conaclip_edge.system.files import read_json
from conaclip_edge.system.folders import user_cache
from conaclip_edge.system.result import Result

RECORD, ROOT, PLUGIN, SITES = "arm64.json", "root", "count.so", "sites"
CPU = "cortex-a76"  # of phones of 2019 and later: NEON with dot products, without the newer i8mm
EMULATOR = "qemu-aarch64"
PREPARE = "conaclip-edge doctor --prepare arm64"
# target -> the package that runs its files; arm64 gets the version that this machine has
PACKAGES = {"onnx": "onnxruntime", "executorch": "executorch"}


class Arm64Record(Result):
    """Content of arm64.json, which is written last: what an arm64 system consists of.

    Attributes:
        python: path of its Python inside the folder.
        emulator: version of qemu that it was tried with.
        sites: target -> folders of unpacked wheels, relative to the folder.
        versions: package -> version, of what its Python imports.
        sha256: file of a package of Debian or PyPI -> its hash.
    """

    python: str
    emulator: str
    sites: dict[str, tuple[str, ...]]
    versions: dict[str, str]
    sha256: dict[str, str]


@dataclass(frozen=True)
class Arm64:
    """A system with arm64's kernels.

    Attributes:
        label: how reports name it.
        emulated: whether qemu runs it.
        command: what starts its Python; `{counts}` in it stands for the file that instructions are counted into.
        sites: target -> folders that its Python imports from, of the targets whose files it runs.
        versions: of what its Python imports.
    """

    label: str
    emulated: bool
    command: tuple[str, ...]
    sites: dict[str, tuple[str, ...]]
    versions: dict[str, str]

    @property
    def counts(self) -> bool:
        """Whether instructions can be counted."""
        return any("{counts}" in part for part in self.command)

    def refusal(self, file: Path) -> str:
        """Return why a file is not run here; "" where it is."""
        target = runtime_of(file).target
        if target == "coreml" or (file.suffix == ".pte" and b"CoreMLBackend" in file.read_bytes()):
            return "Core ML runs on Apple devices alone"
        if target not in self.sites:
            return f"the arm64 system has no {PACKAGES[target]}. Add it: {PREPARE}"
        return ""


def find_arm64(folder: Path | None = None) -> Arm64:
    """Return this machine if it is an arm64 Linux, else the system that was prepared.

    Args:
        folder: of the prepared system; None takes the one in the user's cache.

    Raises:
        UserError: none was prepared, it is not whole, its packages are not this machine's, or qemu is not installed.
    """
    if folder is None and is_arm64():
        return this_machine()
    return prepared_arm64(folder or arm64_folder())


def is_arm64() -> bool:
    """Return whether this machine is an arm64 Linux, which needs no emulator."""
    return sys.platform == "linux" and platform.machine() == "aarch64"


def arm64_folder() -> Path:
    """Return where `doctor --prepare arm64` puts the system."""
    return user_cache() / "arm64"


def this_machine() -> Arm64:
    """Describe this machine's own Python as a system that files are run on."""
    versions = {}
    for package in PACKAGES.values():
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    sites: dict[str, tuple[str, ...]] = {target: () for target, package in PACKAGES.items() if package in versions}
    return Arm64("arm64 (this machine)", False, (sys.executable,), sites, versions)


def prepared_arm64(folder: Path) -> Arm64:
    """Return the system that `prepare_arm64` made.

    Raises:
        UserError: as of `find_arm64`.
    """
    record = read_record(folder)
    parts = [PLUGIN, record.python, *(site for sites in record.sites.values() for site in sites)]
    if lost := next((part for part in parts if not (folder / part).exists()), None):
        raise UserError(f"the arm64 system at {folder} is not whole: {lost} is missing. Make it again: {PREPARE}")
    for target in record.sites:
        wanted, found = host_version(PACKAGES[target]), record.versions.get(PACKAGES[target])
        if wanted and found != wanted:
            raise UserError(
                f"the arm64 system at {folder} has {PACKAGES[target]} {found}, this machine {wanted}. "
                f"Bring it up to date: {PREPARE}"
            )
    return Arm64(
        label="arm64 (emulated Cortex-A76)",
        emulated=True,
        command=emulated_python(folder, record.python),
        sites={target: tuple(str(folder / site) for site in sites) for target, sites in record.sites.items()},
        versions={EMULATOR: record.emulator, **record.versions},
    )


def read_record(folder: Path) -> Arm64Record:
    """Read what a prepared system consists of.

    Raises:
        UserError: none was prepared, or not to the end.
    """
    if not folder.exists():
        raise UserError(f"no arm64 system at {folder}. Make it: {PREPARE}")
    if not (folder / RECORD).is_file():
        raise UserError(f"the arm64 system at {folder} is not whole: its preparation did not end. Go on: {PREPARE}")
    try:
        return Arm64Record.model_validate(read_json(folder / RECORD, "record of the arm64 system"))
    except ValidationError:
        raise UserError(f"{folder / RECORD} is not what this version writes. Make it again: {PREPARE}") from None


def emulated_python(folder: Path, python: str) -> tuple[str, ...]:
    """Return the command that starts an arm64 Python by qemu, with instructions counted.

    Raises:
        UserError: qemu is not installed.
    """
    emulator = find_program(EMULATOR, "qemu-user")
    plugin = f"{str(folder / PLUGIN).replace(',', ',,')},to={{counts}}"  # qemu reads two commas as one
    return (emulator, "-cpu", CPU, "-L", str(folder / ROOT), "-plugin", plugin, str(folder / python))


def find_program(name: str, package: str) -> str:
    """Return the path of a program.

    Args:
        name: of the program.
        package: of Debian that brings it.

    Raises:
        UserError: it is not installed.
    """
    if path := shutil.which(name):
        return path
    raise UserError(f"{name} is not installed, which the arm64 system needs. Get it: sudo apt-get install {package}")


def host_version(package: str) -> str:
    """Return the version of a package that this machine has, without what a build adds; "" if it has none."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return ""
