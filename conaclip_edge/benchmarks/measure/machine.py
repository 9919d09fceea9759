"""What the machine is: every number stands with its processor, instruction sets, system and versions."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.system.processes import available_cores
from conaclip_edge.system.version import __version__

# what onnxruntime's and XNNPACK's kernels are chosen by
ISA = (
    *("sse4_2", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
)
PACKAGES = (
    *("torch", "transformers", "onnxruntime", "executorch", "torchao", "coremltools", "coreai-core"),
    *("numpy", "pillow"),
)


_CPUINFO = Path("/proc/cpuinfo")


def environment(cpuinfo: Path = _CPUINFO) -> Environment:
    """Describe this machine.

    Args:
        cpuinfo: Linux's description of the processor, which alone names its instruction sets.
    """
    flags, cpu = _processor(cpuinfo)
    system = platform.system()
    release = platform.mac_ver()[0] if system == "Darwin" else platform.release()
    cores = available_cores()
    return Environment(
        label=f"{cpu}, {cores} {'core' if cores == 1 else 'cores'}, {system}",
        kind="host",
        cpu=cpu,
        isa=tuple(name for name in ISA if name in flags),
        cores=cores,
        memory_bytes=psutil.virtual_memory().total,
        os=f"{system} {release} {platform.machine()}",
        virtual="hypervisor" in flags,
        load=round(psutil.getloadavg()[0], 2),
        versions={"conaclip-edge": __version__, "python": platform.python_version(), **_versions()},
    )


def _processor(cpuinfo: Path) -> tuple[set[str], str]:
    """Return the processor's instruction sets (in Linux's names) and its name."""
    try:
        text = cpuinfo.read_text("utf-8", "replace")
    except OSError:
        return _apple_processor()
    named: dict[str, str] = dict(re.findall(r"^(model name|Hardware|flags|Features)\s*:\s*(.+)$", text, re.M))
    flags = set((named.get("flags") or named.get("Features") or "").split())
    return flags, named.get("model name") or named.get("Hardware") or f"{platform.machine()} processor"


def _apple_processor() -> tuple[set[str], str]:
    names = {"asimd": "AdvSIMD", "asimddp": "FEAT_DotProd", "i8mm": "FEAT_I8MM", "bf16": "FEAT_BF16"}
    flags = {flag for flag, name in names.items() if _sysctl(f"hw.optional.arm.{name}") == "1"}
    return flags, _sysctl("machdep.cpu.brand_string") or platform.processor() or "unknown"


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
