"""From a bundle to a folder that a client loads: written beside, gated, and only then put in its place."""

from __future__ import annotations

import shutil
from pathlib import Path

from conaclip_edge.layouts.client import Client
from conaclip_edge.layouts.gate import check_pictures, check_pixels, check_texts
from conaclip_edge.layouts.report import Advice, LayoutReport
from conaclip_edge.layouts.source import LICENCE, Source, open_source
from conaclip_edge.layouts.table import find_layout
from conaclip_edge.system.files import atomic_folder, write_json
from conaclip_edge.system.products import LAYOUT, check_out

RECORD = "layout.json"


def default_layout(bundle: Path, name: str) -> Path:
    """Return where the layout of a bundle goes: beside it."""
    folder = bundle.resolve() if bundle.name in ("", "..") else bundle
    return folder.with_name(f"{folder.name}-{name}")


def write_layout(bundle: Path, name: str, out: Path | None = None, data: Path | None = None) -> LayoutReport:
    """Write a bundle's int8 files as a client loads them, and run them under that client's preprocessing.

    Args:
        bundle: its folder.
        name: of a layout in the table.
        out: the folder; None puts it beside the bundle. One of an earlier layout is replaced.
        data: recipe or picture folder for the recall; None takes what the student was distilled on.

    Returns:
        What was found, which is layout.json in the folder too.

    Raises:
        UserError: an unknown layout, no bundle, or one that does not fit the client: what to train instead.
        GateFailed: the files do not give what the bundle's give.
    """
    layout = find_layout(name)
    folder = out or default_layout(bundle, name)
    check_out(folder, LAYOUT)
    source = open_source(bundle)
    write = layout.writer()
    with atomic_folder(folder, LAYOUT) as staging:
        client = write(source, staging)
        if (bundle / LICENCE).is_file():
            shutil.copy(bundle / LICENCE, staging / LICENCE)
        report = LayoutReport(
            layout=name,
            client=layout.client,
            bundle=source.manifest.embedding_space,
            files=_sizes(staging),
            preprocessing=client.pictures,
            exact=check_pixels(source, client),
            texts=check_texts(source, client),
            pictures=check_pictures(source, client, data),
            advice=_advice(source, client),
            notes=client.notes,
        )
        write_json(staging / RECORD, report.model_dump(mode="json"))
    return report


def _sizes(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _advice(source: Source, client: Client) -> Advice | None:
    if client.wanted == source.preprocess:
        return None
    return Advice(resize=client.wanted.resize, resample=client.wanted.resample)
