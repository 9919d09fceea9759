"""Verify on a device: the same checks as on this machine, with the bundle's files run by arm64's kernels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from conaclip_edge.bundle.embeddings import host
from conaclip_edge.bundle.verify import GoldenInputs, Ran, VerifyReport, verify_bundle
from conaclip_edge.errors import NotInstalled, UserError, unknown
from conaclip_edge.runtime.arm64.machine import Arm64, find_arm64
from conaclip_edge.runtime.arm64.run_tower import run_tower
from conaclip_edge.system.progress import say

DEVICES = ("arm64",)


def verify_on(bundle: Path, trusted: Sequence[Path] = (), device: str | None = None) -> VerifyReport:
    """Check a bundle on this machine or on a device.

    Args:
        bundle: the folder.
        trusted: files of public keys; where there are any, the bundle has to be signed by one of them.
        device: "arm64", or None for this machine.

    Raises:
        UserError: there is no bundle or no such device, or a trusted key cannot be read.
    """
    if device is None:
        return verify_bundle(bundle, trusted)
    if device not in DEVICES:
        raise unknown("device", device, DEVICES, where="--device")
    return verify_on_arm64(bundle, find_arm64(), trusted)


def verify_on_arm64(bundle: Path, machine: Arm64, trusted: Sequence[Path] = ()) -> VerifyReport:
    """Check a bundle, running its files on an arm64 system.

    Raises:
        UserError: there is no bundle, none of its files runs there, or a trusted key cannot be read.
    """

    def embed(path: Path, inputs: GoldenInputs, pad_id: int) -> tuple[Ran, np.ndarray]:
        if refusal := machine.refusal(path):
            raise NotInstalled(refusal)
        say(f"{machine.label}: {path.name}")
        return "emulated" if machine.emulated else "native", run_tower(machine, path, inputs).embeddings

    report = verify_bundle(bundle, trusted, embed, machine=f"{machine.label} on {host()}")
    if report.ok and all(file.executed == "not run" for file in report.files):
        reasons = "; ".join(sorted({file.reason for file in report.files}))
        raise UserError(f"no file of {bundle} runs on {machine.label}: {reasons}.")
    return report
