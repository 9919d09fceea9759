"""What is known of a layout: its files, and what its client's own preprocessing leaves of the bundle."""

from __future__ import annotations

from typing import Literal

from conaclip_edge.bundle.manifest import Cosines, Retrieval
from conaclip_edge.config.model import Resample, Resize
from conaclip_edge.system.result import Result


class TextsKept(Result):
    """The golden texts, as the client tokenises them.

    Attributes:
        texts: how many.
        ids_equal: of how many the ids up to EOS are the bundle's.
        different: the others, shortened.
        cosine: of the embeddings of those with equal ids to the golden ones.
    """

    texts: int
    ids_equal: int
    different: tuple[str, ...]
    cosine: Cosines


class PicturesKept(Result):
    """Held-out pictures, as the client prepares them.

    Attributes:
        pictures: how many.
        captions: of them.
        split: that they are of.
        cosine: of their embeddings to those that the bundle gives with its own preprocessing.
        bundle_mean_recall: mean recall in percent of the bundle's own files on them.
        recall: with the layout's files under the client's preprocessing, compared with that; None without captions.
    """

    pictures: int
    captions: int
    split: str
    cosine: Cosines
    bundle_mean_recall: float | None
    recall: Retrieval | None


class Advice(Result):
    """How a student is to be trained for a client that prepares pictures otherwise."""

    resize: Resize
    resample: Resample


class LayoutReport(Result):
    """A layout and what it was found to be worth; layout.json in its folder.

    Attributes:
        schema_version: of this document.
        layout: name of it.
        client: what loads it, with the version whose code was read.
        space: embedding space of what it was made of.
        files: path in the folder -> bytes.
        preprocessing: of the client, in words.
        exact: least cosine of the layout's image file to the bundle's on the same golden pixels: 1 but for rounding.
        texts: golden texts.
        pictures: held-out ones; None where the data are not there.
        advice: None where the student was trained as the client prepares pictures.
        notes: what else to know.
    """

    schema_version: Literal["conaclip-edge/layout/1"] = "conaclip-edge/layout/1"
    layout: str
    client: str
    space: str
    files: dict[str, int]
    preprocessing: str
    exact: float
    texts: TextsKept
    pictures: PicturesKept | None
    advice: Advice | None
    notes: tuple[str, ...]


def layout_text(report: LayoutReport, folder: str) -> str:
    """Format a report for a terminal."""
    size = sum(report.files.values()) / 1e6
    texts = report.texts
    lines = [
        f"{report.layout} for {report.client} in {folder}: {len(report.files)} files, {size:.1f} MB",
        f"  texts: ids of {texts.ids_equal} of {texts.texts} golden texts are equal; "
        f"cosine {texts.cosine.mean:.4f}, least {texts.cosine.min:.4f}",
        *([f"    other ids: {', '.join(map(repr, texts.different))}"] if texts.different else []),
        f"  pictures: {report.preprocessing}",
        *_pictures(report),
        *(f"  {note}" for note in report.notes),
    ]
    return "\n".join(lines)


def _pictures(report: LayoutReport) -> list[str]:
    found = report.pictures
    if found is None:
        return ["    the data of the student are not there, so recall was not measured: pass --data"]
    lines = [
        f"    cosine to the preprocessing of training {found.cosine.mean:.4f}, least {found.cosine.min:.4f} "
        f"(n = {found.pictures}, {found.split})"
    ]
    if found.recall is not None:
        t2i, i2t = (found.recall.relative_recall[way] for way in ("t2i", "i2t"))
        intervals = found.recall.interval_95 or {}
        between = [f"[{100 * low:.1f} to {100 * high:.1f}]" for low, high in (intervals["t2i"], intervals["i2t"])]
        lines.append(
            f"    recall kept: {100 * t2i:.1f} % {between[0]} from text to picture, {100 * i2t:.1f} % {between[1]} back"
        )
    if report.advice is not None:
        lines.append(
            "    the student was trained on other pictures than this client makes; for it, train with "
            f"student.image.resize={report.advice.resize} student.image.resample={report.advice.resample}"
        )
    return lines
