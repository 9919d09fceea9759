"""The table of devices that files are run on without a phone, by the name that `--device` has for them."""

from __future__ import annotations

from collections.abc import Callable

from conaclip_edge.errors import unknown
from conaclip_edge.runtime.emulated.arm64.system import find_arm64
from conaclip_edge.runtime.emulated.device import Device
from conaclip_edge.runtime.emulated.x86_64 import find_x86_64

DEVICES: dict[str, Callable[[], Device]] = {"arm64": find_arm64, "x86-64": find_x86_64}


def find_device(name: str) -> Device:
    """Open a device by its name.

    Args:
        name: a key of `DEVICES`.

    Raises:
        UserError: there is no such device, or what it consists of is not there.
    """
    if name not in DEVICES:
        raise unknown("device", name, DEVICES, where="--device")
    return DEVICES[name]()
