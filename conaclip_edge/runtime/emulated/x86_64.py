"""x86-64, emulated on x86-64: this machine's own Python and runtimes on a processor that is the same everywhere.

What a host counts depends on its instruction sets, and what it times on its neighbours. The emulated processor has
AVX2, as laptops and servers have since 2013, and neither AVX-512 nor VNNI.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated.device import Device, host_versions, own_sites
from conaclip_edge.runtime.emulated.qemu import PACKAGE, build_plugin, check_version, find_program, plugin_option
from conaclip_edge.system.folders import user_cache

EMULATOR = "qemu-x86_64"
# Without what qemu does not emulate, of which it would warn; and without ERMS: qemu counts an instruction that copies
# a whole block as one for each byte, and the C library copies by vectors where there is none
_CPU = "Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid,-erms"
_WITH_AVX2 = (7, 2)


def find_x86_64(folder: Path | None = None) -> Device:
    """Return this machine's Python on an emulated processor with AVX2; the plugin that counts is made if need be.

    Args:
        folder: of the plugin; None takes the one in the user's cache.

    Raises:
        UserError: this machine is no x86-64 Linux, qemu or gcc is not installed, or qemu is too old.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise UserError("x86-64 is emulated on an x86-64 Linux alone. Leave --device out, or take such a machine.")
    emulator = find_program(EMULATOR, PACKAGE, "--device x86-64")
    version = check_version(emulator, _WITH_AVX2, "AVX2 is emulated since 7.2")
    plugin = (folder or user_cache() / "x86-64") / f"count-{version}.so"
    if not plugin.is_file():
        build_plugin(plugin, lambda made: _command(emulator, made), "this machine's Python")
    return Device(
        name="x86-64",
        label="x86-64 (emulated Haswell, AVX2)",
        emulated=True,
        command=_command(emulator, plugin),
        sites=own_sites(),
        versions={EMULATOR: version, "python": ".".join(platform.python_version_tuple()[:2]), **host_versions()},
        get="pip install 'conaclip-edge[{target}]'",
    )


def _command(emulator: str, plugin: Path) -> tuple[str, ...]:
    return (emulator, "-cpu", _CPU, "-plugin", plugin_option(plugin), sys.executable)
