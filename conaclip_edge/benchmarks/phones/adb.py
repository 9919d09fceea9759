"""A phone over adb: its shell, copying files to it, and what it reports of itself."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from conaclip_edge.benchmarks.measure.machine import ISA
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.config.benchmark import AndroidConfig
from conaclip_edge.errors import UserError


class Phone:
    """An attached phone.

    Args:
        adb: the adb program.
        serial: which phone; None where only one is attached.
        config: folder on the phone and time for one command.
    """

    def __init__(self, adb: str, serial: str | None, config: AndroidConfig):
        if shutil.which(adb) is None:
            raise UserError(f"'{adb}' is not installed; it comes with Android's platform-tools.")
        self.adb, self.config = adb, config
        self.name = _choose(_run_adb([adb, "devices"], config.timeout), serial)

    def call(self, *arguments: str) -> str:
        """Run an adb command on this phone; returns its output."""
        return _run_adb([self.adb, "-s", self.name, *arguments], self.config.timeout)

    def shell(self, command: str) -> str:
        """Run a command in the phone's shell."""
        return self.call("shell", command)

    def push(self, path: Path, name: str) -> None:
        """Copy a file into the folder on the phone."""
        if not path.is_file():
            raise UserError(f"no file at {path} to push to the phone.")
        self.call("push", str(path), f"{self.config.folder}/{name}")

    def benchmark(self, command: str) -> str:
        """Run a program in the folder on the phone; returns its output and what it logged."""
        self.call("logcat", "-c")
        printed = self.shell(f"cd {shlex.quote(self.config.folder)} && {command} 2>&1")
        return printed + self.call("logcat", "-d", "-s", "ExecuTorch")

    def environment(self) -> Environment:
        """Describe the phone from its system properties."""
        names = {
            "maker": "ro.product.manufacturer",
            "model": "ro.product.model",
            "android": "ro.build.version.release",
            "sdk": "ro.build.version.sdk",
            "soc": "ro.soc.model",
            "abi": "ro.product.cpu.abi",
        }
        properties = {name: self.shell(f"getprop {key}").strip() for name, key in names.items()}
        features = set(re.findall(r"^Features\s*:\s*(.+)$", self.shell("cat /proc/cpuinfo"), re.M))
        flags = set(" ".join(features).split())
        cores = self.shell("nproc").strip()
        return Environment(
            label=f"{properties['maker']} {properties['model']}, Android {properties['android']}".strip(),
            kind="phone",
            cpu=properties["soc"] or properties["abi"],
            isa=tuple(name for name in ISA if name in flags),
            cores=int(cores) if cores.isdigit() else None,
            os=f"Android {properties['android']} (SDK {properties['sdk']}) {properties['abi']}",
        )


def _choose(listed: str, serial: str | None) -> str:
    """Pick the phone from the output of `adb devices`."""
    states: dict[str, str] = dict(re.findall(r"^(\S+)\t(\S+)\s*$", listed, re.M))
    ready = [name for name, state in states.items() if state == "device"]
    if serial:
        if serial in ready:
            return serial
        state = f"is {states[serial]}" if serial in states else "is not attached"
        raise UserError(f"phone {serial} {state}. Attached and ready: {', '.join(ready) or 'none'}.")
    if not ready:
        waiting = ", ".join(f"{name} is {state}" for name, state in states.items())
        raise UserError(
            f"no phone is ready ({waiting or 'none is attached'}). Attach one with USB debugging on, and allow this "
            "computer on its screen."
        )
    if len(ready) > 1:
        raise UserError(f"several phones are attached: {', '.join(ready)}. Name one: --serial {ready[0]}")
    return ready[0]


def _run_adb(command: Sequence[str], timeout: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, errors="replace")
    except subprocess.TimeoutExpired:
        raise UserError(
            f"no answer from the phone within {timeout:g} s: {shlex.join(command)}. Is its screen unlocked? The "
            "suite's android.timeout gives it longer."
        ) from None
    if done.returncode:
        reason = " ".join((done.stderr + done.stdout).split())[-300:]
        raise UserError(f"'{shlex.join(command)}' failed (exit code {done.returncode}): {reason}")
    return done.stdout
