"""A device: a processor whose kernels exported files are run on, this machine's own or one that qemu emulates."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from conaclip_edge.runtime.onnx_tower import cannot_be_precise
from conaclip_edge.runtime.open_tower import runtime_of

# target -> the package that runs its files; a device gets the version that this machine has
PACKAGES = {"onnx": "onnxruntime", "executorch": "executorch"}


@dataclass(frozen=True)
class Device:
    """A system with the kernels of a processor.

    Attributes:
        name: as `--device` has it, and the ids of a report's rows.
        label: how reports name it.
        emulated: whether qemu runs it.
        command: what starts its Python; `{counts}` in it stands for the file that instructions are counted into.
        sites: target -> folders that its Python imports from, of the targets whose files it runs.
        versions: of what its Python imports.
        get: how it gets the runtime of a target; `{target}` in it stands for that.
    """

    name: str
    label: str
    emulated: bool
    command: tuple[str, ...]
    sites: dict[str, tuple[str, ...]]
    versions: dict[str, str]
    get: str

    @property
    def counts(self) -> bool:
        """Whether instructions can be counted."""
        return any("{counts}" in part for part in self.command)

    def refusal(self, file: Path) -> str:
        """Return why a file is not run here; "" where it is."""
        target = runtime_of(file).target
        if target == "coreml" or (file.suffix == ".pte" and b"CoreMLBackend" in file.read_bytes()):
            return "Core ML runs on Apple devices alone"
        if target == "coreai":
            return "Core AI runs on Apple devices, and its executor on x86-64, alone"
        if target not in self.sites:
            return f"{self.label} has no {PACKAGES[target]}. Add it: {self.get.format(target=target)}"
        if self.name == "x86-64" and cannot_be_precise(file):
            return (
                "sums of its 8-bit products overflow on AVX2 without VNNI; the .onnx file beside it is computed right"
            )
        return ""


def host_version(package: str) -> str:
    """Return the version of a package that this machine has, without what a build adds; "" if it has none."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return ""


def host_versions() -> dict[str, str]:
    """Return the versions of the runtimes that this machine's own Python has."""
    found = {package: host_version(package) for package in PACKAGES.values()}
    return {package: number for package, number in found.items() if number}


def own_sites() -> dict[str, tuple[str, ...]]:
    """Return the targets that this machine's own Python runs, which imports them from where it always does."""
    return {target: () for target, package in PACKAGES.items() if host_version(package)}
