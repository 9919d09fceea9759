"""Whether an index and a folder of pictures belong together, and what becomes of the index where the folder is away."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.search.folder.picture_folder import check_folder
from conaclip_edge.search.sqlite_checks import LOCK
from conaclip_edge.search.sqlite_store import FILE, Sidecar, open_sidecar, unmade
from conaclip_edge.system.files import not_written


def check_there(pictures: Path, out: Path) -> None:
    """Refuse a folder that is not there; of an index that has pictures of it, say that they are kept."""
    try:
        check_folder(pictures)
    except UserError as error:
        if pictures.exists() or unmade(out):
            raise
        sidecar = open_sidecar(out)
        kept = kept_text(sidecar) if sidecar.meta().get("pictures") == str(pictures) else ""
        sidecar.close()
        if not kept:
            raise
        raise UserError(f"no folder {pictures}.{kept}") from error


def check_same(pictures: Path, meta: Mapping[str, str], out: Path) -> None:
    """Refuse another folder than the index's."""
    recorded = meta.get("pictures", str(pictures))
    if recorded != str(pictures):
        moved = "" if Path(recorded).is_dir() else f" If that folder moved there: --moved-to {pictures}"
        raise UserError(
            f"index {out} is of the pictures in {recorded}, not in {pictures}. Choose another --out.{moved}"
        )


def move(sidecar: Sidecar, new: Path, out: Path) -> None:
    """Point an index to the folder that its pictures moved to.

    Raises:
        UserError: none of the index's files is in the new folder.
    """
    check_folder(new)
    known = sidecar.files()
    if known and not any((new / path).exists() for path in known):
        raise UserError(
            f"{new} holds none of the {len(known)} pictures of index {out}. Give the folder that they are in."
        )
    sidecar.set_meta(pictures=str(new))


def kept_text(sidecar: Sidecar) -> str:
    """Say what becomes of an index whose folder holds no picture, and what can be done."""
    if not sidecar.files():
        return " Give a folder with pictures."
    return (
        f" The index keeps the {len(sidecar)} pictures that it has. Give the folder with its pictures back; one that "
        f"moved is given by --moved-to NEW. If they are gone for good, remove {sidecar.folder}."
    )


def make_folder(out: Path) -> None:
    """Make the folder of an index; refuse one of something else."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in out.iterdir()}
    except OSError as error:
        raise not_written(out, error) from error
    if names and not names & {FILE, LOCK}:
        raise UserError(f"{out} is no index: it holds {min(names)}. Choose another --out.")
