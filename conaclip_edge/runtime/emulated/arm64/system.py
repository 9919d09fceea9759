"""The arm64 system that exported files are run on: this machine, or one in the cache that qemu emulates."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from pydantic import ValidationError

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated.device import PACKAGES, Device, host_version, host_versions, own_sites
from conaclip_edge.runtime.emulated.qemu import PACKAGE, find_program, plugin_option, qemu_version
from conaclip_edge.system.files import read_json
from conaclip_edge.system.folders import user_cache
from conaclip_edge.system.result import Result

RECORD, ROOT, PLUGIN, SITES = "arm64.json", "root", "count.so", "sites"
CPU = "cortex-a76"  # of phones of 2019 and later: NEON with dot products, without the newer i8mm
EMULATOR = "qemu-aarch64"
PREPARE = "conaclip-edge doctor --prepare arm64"


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


def find_arm64(folder: Path | None = None) -> Device:
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


def this_machine() -> Device:
    """Describe this machine's own Python as a system that files are run on."""
    return Device(
        name="arm64",
        label="arm64 (this machine)",
        emulated=False,
        command=(sys.executable,),
        sites=own_sites(),
        versions=host_versions(),
        get="pip install 'conaclip-edge[{target}]'",
    )


def prepared_arm64(folder: Path) -> Device:
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
    command = emulated_python(folder, record.python)
    if (installed := qemu_version(command[0])) != record.emulator:
        raise UserError(
            f"the arm64 system at {folder} was made for qemu {record.emulator}, this machine has {installed}. "
            f"Bring it up to date: {PREPARE}"
        )
    return Device(
        name="arm64",
        label="arm64 (emulated Cortex-A76)",
        emulated=True,
        command=command,
        sites={target: tuple(str(folder / site) for site in sites) for target, sites in record.sites.items()},
        versions={EMULATOR: record.emulator, **record.versions},
        get=PREPARE,
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


def emulated_python(folder: Path, python: str, plugin: Path | None = None) -> tuple[str, ...]:
    """Return the command that starts an arm64 Python by qemu, with instructions counted.

    Args:
        folder: of the system.
        python: path of its Python inside.
        plugin: that counts; None takes the system's.

    Raises:
        UserError: qemu is not installed.
    """
    emulator = find_program(EMULATOR, PACKAGE, "the arm64 system")
    root = ("-cpu", CPU, "-L", str(folder / ROOT))
    return (emulator, *root, "-plugin", plugin_option(plugin or folder / PLUGIN), str(folder / python))
