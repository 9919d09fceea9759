"""`doctor --prepare`: make the system of a device that this machine can emulate."""

from __future__ import annotations

from conaclip_edge.errors import UserError, unknown
from conaclip_edge.runtime.emulated.arm64.prepare import PreparedArm64, prepare_arm64
from conaclip_edge.runtime.emulated.arm64.system import arm64_folder, is_arm64
from conaclip_edge.runtime.emulated.device import PACKAGES, host_version

_DEVICES = ("arm64", "arm64-onnx")


def prepare_device(name: str) -> PreparedArm64:
    """Make the emulated system of a device, or complete it.

    Args:
        name: "arm64", with every runtime that this machine has, or "arm64-onnx", with onnxruntime alone.

    Raises:
        UserError: there is no such device, or what it is made of cannot be had.
    """
    if name not in _DEVICES:
        raise unknown("device", name, _DEVICES, where="--prepare")
    if is_arm64():
        raise UserError("this machine is arm64 itself: nothing has to be prepared. Leave --prepare out.")
    targets = tuple(target for target, package in PACKAGES.items() if host_version(package))
    return prepare_arm64(arm64_folder(), targets if name == "arm64" else ("onnx",))


def prepared_text(made: PreparedArm64) -> str:
    """Write for a terminal what was made."""
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    return (
        f"{made.folder}: arm64 runs files of {' and '.join(made.targets)}, {made.bytes / 1e6:.0f} MB ({versions})\n"
        "Next: conaclip-edge verify BUNDLE --device arm64"
    )
