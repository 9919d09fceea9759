"""What a bundle's manifest says of its members holds when they are run, not only when somebody last verified it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conaclip_edge.errors import UserError
from conaclip_edge.system.files import sha256_file


def check_members(bundle: Path, manifest: dict[str, Any], paths: Iterable[Path]) -> None:
    """Hash what is about to be given to native code; `verify` looks at the whole bundle and at what it computes.

    Args:
        bundle: its folder.
        manifest: content of its manifest.json.
        paths: files in the bundle, or folders of which all files count.

    Raises:
        UserError: a file is not what the manifest says, is missing, or is not listed.
    """
    listed = manifest.get("members") if isinstance(manifest, dict) else None
    members: dict[str, Any] = listed if isinstance(listed, dict) else {}
    for path in paths:
        name = path.relative_to(bundle).as_posix()
        files = {one for one in path.rglob("*") if not one.is_dir()} if path.is_dir() else {path}
        files |= {bundle / member for member in members if member.startswith(f"{name}/")}
        for file in sorted(files):
            if reason := _difference(file, members.get(file.relative_to(bundle).as_posix())):
                raise UserError(
                    f"bundle {bundle} is not run: {file.relative_to(bundle).as_posix()} {reason}. "
                    f"Look at all of it: conaclip-edge verify {bundle}"
                )


def _difference(file: Path, member: Any) -> str:
    if not isinstance(member, dict) or "sha256" not in member:
        return "is not listed in the manifest"
    if not file.is_file():
        return "is listed in the manifest, but is not there"
    found, wanted = sha256_file(file), str(member["sha256"])
    return "" if found == wanted else f"has sha256 {found[:12]}.., the manifest says {wanted[:12]}.."
