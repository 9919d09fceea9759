"""What an arm64 system is made of: packages of Debian by apt, wheels by pip, for a machine that is not this one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated.qemu import find_program
from conaclip_edge.system.files import sha256_file

# Python with its standard library, and what the runtimes link to; apt adds what they need
DEBIAN = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgomp1")
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
_NETWORK = "Look at the network and at what {} is set up to ask"
_FULL = re.compile(r"no space left|enough free space|disk quota exceeded", re.I)
_SPACE = "Free some space (the system takes 1.2 GB), or let XDG_CACHE_HOME name a folder on another disk"


def unpack_debian(downloads: Path, root: Path) -> dict[str, str]:
    """Fetch Debian's packages for arm64 and unpack them, without installing: no script of theirs is run.

    apt gets folders of its own, and the sources and keys of this machine, so it checks signatures and needs no root.

    Args:
        downloads: folder of what apt keeps; what is there already is not fetched again.
        root: existing folder that they are unpacked into.

    Returns:
        File name -> sha256.

    Raises:
        UserError: no apt, or a package that cannot be fetched or unpacked.
    """
    apt, dpkg = (
        find_program(name, package, "the arm64 system") for name, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg"))
    )
    archives = downloads / "archives"
    for folder in (archives / "partial", downloads / "lists" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (downloads / "status").write_text("")  # nothing is installed there
    settings = {
        "Dir::State": downloads,
        "Dir::State::status": downloads / "status",
        "Dir::Cache": downloads,
        "Dir::Log": downloads,
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "0",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Debug::NoLocking": "1",
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    # a source that has nothing for arm64 fails here; what counts is whether the packages are found
    lists = _run([apt, *options, "-qq", "update"])
    done = _run([apt, *options, "-qq", "-y", "--download-only", "install", *DEBIAN])
    packages = sorted(archives.glob("*.deb"))
    if done.returncode or not packages:
        failed = [line for line in lists.stderr.splitlines() if line.startswith(("E: ", "W: Failed to fetch"))]
        reason = failed[0][3:300].rstrip(". ") if failed else _last(done, "E:")
        mend = _mend(lists.stderr + done.stderr, _NETWORK.format("apt"))
        raise UserError(f"apt could not fetch Debian's arm64 packages ({', '.join(DEBIAN)}): {reason}. {mend}.")
    for package in packages:
        done = _run([dpkg, "-x", str(package), str(root)])
        if done.returncode:
            package.unlink()
            mend = _mend(done.stderr, "Run it again")
            raise UserError(f"{package.name} cannot be unpacked: {_last(done, 'dpkg-deb:')}. {mend}.")
    return {package.name: sha256_file(package) for package in packages}


def unpack_wheels(
    requirements: Sequence[str], python: str, downloads: Path, site: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Fetch wheels for an arm64 Python and unpack them.

    Args:
        requirements: of pip, e.g. "numpy" or "onnxruntime==1.32.0"; what these need is not added.
        python: version of that Python, e.g. "3.11".
        downloads: folder of the wheels.
        site: existing folder that they are unpacked into.

    Returns:
        Package -> version, and file name -> sha256.

    Raises:
        UserError: a wheel that is not there, or that cannot be fetched or unpacked.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    machine = [f"--platform={name}_aarch64" for name in _PLATFORMS]
    machine += ["--implementation=cp", f"--python-version={python}", "--only-binary=:all:", "--no-deps", "--no-input"]
    pip = [sys.executable, "-m", "pip"]
    versions, hashes = {}, {}
    for requirement in requirements:
        done = _run([*pip, "download", "-q", f"--dest={downloads}", *machine, requirement])
        if done.returncode:
            raise UserError(
                f"pip found no wheel of {requirement} for Python {python} on arm64 Linux: {_last(done, 'ERROR:')}. "
                f"{_mend(done.stderr, _NETWORK.format('pip'))}."
            )
    for wheel in sorted(downloads.glob("*.whl")):
        name, number = wheel.name.split("-")[:2]
        versions[name], hashes[wheel.name] = number, sha256_file(wheel)
        # pip keeps every path inside the folder, and runs nothing of a wheel
        done = _run([*pip, "install", "-q", f"--target={site}", "--upgrade", "--no-compile", *machine, str(wheel)])
        if done.returncode:
            wheel.unlink()
            mend = _mend(done.stderr, "Run it again")
            raise UserError(f"{wheel.name} cannot be unpacked: {_last(done, 'ERROR:')}. {mend}.")
    return versions, hashes


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)


def _mend(written: str, otherwise: str) -> str:
    """Say how to mend what a program could not do: by space, where its disk is full."""
    return _SPACE if _FULL.search(written) else otherwise


def _last(done: subprocess.CompletedProcess[str], mark: str) -> str:
    """Return the last line that a program marked as an error, else its last line."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    marked = [line.removeprefix(mark).strip() for line in lines if line.startswith(mark)]
    return (marked or lines or [f"exit code {done.returncode}"])[-1][:300].rstrip(".")
