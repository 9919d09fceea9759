"""The members of a bundle: every file with its hash, and everything that can be wrong with a folder that lists them."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated

from pydantic import Field

from conaclip_edge.config.base import Config
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import read_json, sha256_file
from conaclip_edge.system.products import BUNDLE, check_out

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"  # of the manifest, so no member of it
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Member(Config):
    """Hash and size in bytes of one file."""

    sha256: Sha256
    size: int = Field(ge=0)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a bundle.

    Attributes:
        kind: a word that programs can branch on, e.g. "altered", "missing", "extra", "link", "unsafe-path".
        member: the file that it is about, relative to the bundle.
        detail: the rest of the sentence for a person.
    """

    kind: str
    member: str
    detail: str

    def __str__(self) -> str:
        return f"{self.member}: {self.detail}"


def scan(folder: Path) -> tuple[dict[str, Path], list[Problem]]:
    """List a folder's files but its manifest and signature, by their path relative to it; links are never followed.

    Returns:
        Path with "/" -> file, in order; and one problem for each link, socket and the like.
    """
    files: dict[str, Path] = {}
    problems: list[Problem] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            problems.append(Problem("link", name, "is a symbolic link; a bundle holds plain files only"))
        elif stat.S_ISREG(mode):
            if name not in (MANIFEST, SIGNATURE):
                files[name] = path
        elif not stat.S_ISDIR(mode):
            problems.append(Problem("irregular", name, "is no plain file; a bundle holds plain files only"))
    return files, problems


def hashed(folder: Path) -> dict[str, Member]:
    """Hash every file of a folder of plain files, but its manifest and signature."""
    files, problems = scan(folder)
    assert not problems, f"an exporter left {problems[0]}"
    return {name: Member(sha256=sha256_file(path), size=path.stat().st_size) for name, path in files.items()}


def check_bundle_out(out: Path) -> None:
    """Refuse, before any work, a folder that is no bundle or holds files that the bundle does not list.

    Raises:
        UserError: such a folder; an export would delete what it holds.
    """
    check_out(out, BUNDLE)
    if not (out / MANIFEST).is_file():
        return
    manifest = read_json(out / MANIFEST, "manifest")
    members = manifest.get("members") if isinstance(manifest, dict) else None
    if isinstance(members, dict):  # an older or damaged one lists nothing
        others = [name for name in scan(out)[0] if name not in members]
        if others:
            raise UserError(
                f"bundle {out} also holds {', '.join(others[:3])}, which it does not list and which an export would "
                "delete. Move that away, or choose another --out."
            )


def unsafe(name: str) -> str:
    """Say why a path of a manifest must not be opened; "" if it stays inside the folder on every system."""
    windows = PureWindowsPath(name)
    if name.startswith("/") or windows.drive or windows.root:
        return "is an absolute path"
    if ".." in windows.parts:
        return "leaves the bundle's folder"
    if any(mark in name for mark in "\\:\0") or PurePosixPath(name).as_posix() != name or name in ("", "."):
        return "is not a plain relative path"
    return ""


def member_problems(folder: Path, members: Mapping[str, Member]) -> list[Problem]:
    """Compare a folder with the members that its manifest lists; each mismatch is named.

    Nothing outside the folder is opened, whatever the manifest says.
    """
    files, problems = scan(folder)
    for name, member in members.items():
        reason = unsafe(name)
        if reason:
            problems.append(Problem("unsafe-path", name, f"{reason}; it was not opened"))
        elif name in files:
            problems += _altered(name, files.pop(name), member)
        elif not any(name == other.member or name.startswith(f"{other.member}/") for other in problems):
            problems.append(Problem("missing", name, "is listed in the manifest, but is not there"))
    problems += [Problem("extra", name, "is not listed in the manifest") for name in files]
    return problems


def _altered(name: str, path: Path, member: Member) -> list[Problem]:
    size = path.stat().st_size
    if size != member.size:
        return [Problem("altered", name, f"has {size} bytes, the manifest says {member.size}")]
    found = sha256_file(path)
    if found != member.sha256:
        return [Problem("altered", name, f"has sha256 {found[:12]}.., the manifest says {member.sha256[:12]}..")]
    return []
