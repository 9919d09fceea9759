"""Verify on a device: the same checks as on this device, with the bundle's files run by its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from conaclip_edge.bundle.embeddings import host
from conaclip_edge.bundle.verify import GoldenInputs, Ran, VerifyReport, verify_bundle
from conaclip_edge.errors import NotInstalled, UserError
from conaclip_edge.runtime.emulated.device import Device
from conaclip_edge.runtime.emulated.devices import find_device
from conaclip_edge.runtime.emulated.run_tower import run_tower
from conaclip_edge.system.progress import say


def verify_on(bundle: Path, trusted: Sequence[Path] = (), device: str | None = None) -> VerifyReport:
    """Check a bundle on this machine or on a device.

    Args:
        bundle: the folder.
        trusted: files of public keys; where there are any, the bundle has to be signed by one of them.
        device: "arm64", "x86-64", or None for this machine.

    Raises:
        UserError: there is no bundle or no such device, or a trusted key cannot be read.
    """
    if device is None:
        return verify_bundle(bundle, trusted)
    return verify_on_device(bundle, find_device(device), trusted)


def verify_on_device(bundle: Path, device: Device, trusted: Sequence[Path] = ()) -> VerifyReport:
    """Check a bundle, running its files on a device.

    Raises:
        UserError: there is no bundle, none of its files runs there, or a trusted key cannot be read.
    """

    def embed(path: Path, inputs: GoldenInputs, pad_id: int) -> tuple[Ran, np.ndarray]:
        if refusal := device.refusal(path):
            raise NotInstalled(refusal)
        say(f"{device.label}: {path.name}")
        return "emulated" if device.emulated else "native", run_tower(device, path, inputs).embeddings

    report = verify_bundle(bundle, trusted, embed, machine=f"{device.label} on {host()}")
    if report.ok and all(file.executed == "not run" for file in report.files):
        reasons = "; ".join(sorted({file.reason for file in report.files}))
        raise UserError(f"no file of {bundle} runs on {device.label}: {reasons}.")
    return report
