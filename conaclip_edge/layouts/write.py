"""From a bundle or a student to a folder that a client loads: written beside, gated, and only then put in its place."""

from __future__ import annotations

import shutil
from pathlib import Path

from conaclip_edge.layouts.client import Client
from conaclip_edge.layouts.gate import check_pictures, check_pixels, check_texts
from conaclip_edge.layouts.report import Advice, LayoutReport
from conaclip_edge.layouts.source import LICENCE, Source, open_source
from conaclip_edge.layouts.table import Layout, find_layout
from conaclip_edge.models.model_folder import check_model
from conaclip_edge.system.files import atomic_folder, write_json
from conaclip_edge.system.products import LAYOUT, check_out

RECORD = "layout.json"


def default_layout(source: Path, name: str) -> Path:
    """Return where the layout of a bundle or a student goes: beside it."""
    folder = source.resolve() if source.name in ("", "..") else source
    return folder.with_name(f"{folder.name}-{name}")


def write_layout(source: Path, name: str, out: Path | None = None, data: Path | None = None) -> LayoutReport:
    """Write a bundle's int8 files as a client loads them, and run them under that client's preprocessing.

    Args:
        source: folder of the bundle; of the student, for a layout that is made of its float weights.
        name: of a layout in the table.
        out: the folder; None puts it beside the source. One of an earlier layout is replaced.
        data: recipe or picture folder for the recall; None takes what the student was distilled on.

    Returns:
        What was found, which is layout.json in the folder too.

    Raises:
        UserError: an unknown layout, no bundle, or one that does not fit the client: what to train instead.
        GateFailed: the files do not give what the bundle's give.
    """
    layout = find_layout(name)
    folder = out or default_layout(source, name)
    check_out(folder, LAYOUT)
    if layout.made_of == "student":
        return _of_student(layout, source, folder)
    bundle = open_source(source, layout.target)
    write = layout.writer()
    with atomic_folder(folder, LAYOUT) as staging:
        client: Client = write(bundle, staging)
        _copy_licence(source, staging)
        report = LayoutReport(
            layout=name,
            client=layout.client,
            space=bundle.manifest.embedding_space,
            files=_sizes(staging),
            preprocessing=client.pictures,
            exact=check_pixels(bundle, client),
            texts=check_texts(bundle, client),
            pictures=check_pictures(bundle, client, data),
            advice=_advice(bundle, client),
            notes=client.notes,
        )
        write_json(staging / RECORD, report.model_dump(mode="json"))
    return report


def _of_student(layout: Layout, student: Path, folder: Path) -> LayoutReport:
    check_model(student)
    write = layout.writer()
    with atomic_folder(folder, LAYOUT) as staging:
        texts, pictures, space = write(student, staging)
        report = LayoutReport(
            layout=layout.name,
            client=layout.client,
            space=space,
            files=_sizes(staging),
            preprocessing="as the student was trained",
            exact=pictures.cosine.min,
            texts=texts,
            pictures=pictures,
            advice=None,
            notes=("The weights are the student's, in float.",),
        )
        write_json(staging / RECORD, report.model_dump(mode="json"))
    return report


def _copy_licence(bundle: Path, folder: Path) -> None:
    if (bundle / LICENCE).is_file():
        shutil.copy(bundle / LICENCE, folder / LICENCE)


def _sizes(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _advice(source: Source, client: Client) -> Advice | None:
    if client.wanted == source.preprocess:
        return None
    return Advice(resize=client.wanted.resize, resample=client.wanted.resample)
