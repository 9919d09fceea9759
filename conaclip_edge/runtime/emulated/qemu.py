"""qemu-user: runs programs of another processor, and counts their instructions by a plugin that gcc compiles here."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.system.files import atomic_file

PACKAGE = "qemu-user"  # of Debian, with an emulator for each processor
_INTERFACES = range(1, 9)  # versions of qemu's plugin interface that are tried
_NEWER = f"Get qemu 7.2 or newer, built with plugins as Debian's is: sudo apt-get install {PACKAGE}"


def find_program(name: str, package: str, needed_by: str) -> str:
    """Return the path of a program.

    Args:
        name: of the program.
        package: of Debian that brings it.
        needed_by: what cannot be done without it.

    Raises:
        UserError: it is not installed.
    """
    if path := shutil.which(name):
        return path
    raise UserError(f"{name} is not installed, which {needed_by} needs. Get it: sudo apt-get install {package}")


def qemu_version(emulator: str) -> str:
    """Return the version of a program of qemu, e.g. "7.2.22"; "unknown" where it does not say."""
    done = subprocess.run([emulator, "--version"], capture_output=True, text=True, errors="replace", check=False)
    found = re.search(r"version (\d+(?:\.\d+)+)", done.stdout)
    return found[1] if found else "unknown"


def plugin_option(plugin: Path) -> str:
    """Return the value of qemu's option -plugin; `{counts}` in it stands for the file that is counted into."""
    return f"{str(plugin).replace(',', ',,')},to={{counts}}"  # qemu reads two commas as one


def counted_into(command: tuple[str, ...], counts: Path | str) -> list[str]:
    """Return a command with the file that instructions are counted into."""
    return [part.replace("{counts}", str(counts).replace(",", ",,")) for part in command]


def build_plugin(plugin: Path, command: Callable[[Path], tuple[str, ...]], what: str) -> None:
    """Compile the plugin for the interface of this qemu, whose version only qemu itself knows.

    Args:
        plugin: file that is written.
        command: of a plugin: what starts the emulated Python with it.
        what: names that Python in an error.

    Raises:
        UserError: no gcc, or qemu does not load the plugin.
    """
    compiler = find_program("gcc", "gcc libc6-dev", "counting instructions")
    source = files("conaclip_edge.runtime.emulated").joinpath("count.c").read_bytes()
    reason = ""
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as scratch:
        (Path(scratch) / "count.c").write_bytes(source)
        made = Path(scratch) / "count.so"
        for interface in _INTERFACES:
            options = ["-shared", "-fPIC", "-O2", f"-DINTERFACE={interface}", "-o", str(made), f"{scratch}/count.c"]
            done = subprocess.run([compiler, *options], capture_output=True, text=True, errors="replace", check=False)
            if done.returncode:
                raise UserError(
                    f"gcc cannot compile the plugin that counts: {last_line(done.stderr)}. "
                    "Get what it needs: sudo apt-get install gcc libc6-dev"
                )
            started = counted_into(command(made), f"{scratch}/counts")
            done = subprocess.run(
                [*started, "-ISc", "pass"], capture_output=True, text=True, errors="replace", check=False
            )
            if not done.returncode:
                plugin.parent.mkdir(parents=True, exist_ok=True)
                with atomic_file(plugin) as into:
                    shutil.copyfile(made, into)
                return
            reason = last_line(done.stderr)
    raise UserError(f"qemu does not run {what} with the plugin that counts: {reason}. {_NEWER}")


def check_version(emulator: str, least: tuple[int, int], why: str) -> str:
    """Return the version of a program of qemu.

    Args:
        emulator: the program.
        least: the oldest version that does.
        why: it has to be that new.

    Raises:
        UserError: it is older.
    """
    found = qemu_version(emulator)
    if found != "unknown" and tuple(int(part) for part in found.split(".")[:2]) < least:
        raise UserError(f"{emulator} is {found}, and {why}. {_NEWER}")
    return found


def last_line(text: str) -> str:
    """Return the last line of what a program wrote, which says why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines or ["no reason given"])[-1][:300].rstrip(".")
