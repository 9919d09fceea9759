"""What the commands `index` and `search` do, between the command line and the index."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.data.preprocess import BadPicture
from conaclip_edge.errors import UserError
from conaclip_edge.search.folder.picture_folder import picture_bytes
from conaclip_edge.search.hits.filters import PictureFilter
from conaclip_edge.search.query import open_searcher, parse_query
from conaclip_edge.search.report import FoundPicture, IndexReport, SearchReport, index_text
from conaclip_edge.search.update import default_index, open_writer
from conaclip_edge.system.progress import say


def index_pictures(
    bundle: Path,
    pictures: Path | None,
    out: Path | None = None,
    target: str | None = None,
    vectors: str | None = None,
    watch: bool = False,
    *,
    max_pixels: int | None = None,
    moved_to: Path | None = None,
    drop_missing: bool = False,
) -> IndexReport:
    """Bring an index up to date, or make it.

    Args:
        bundle: its image tower encodes the pictures.
        pictures: their folder; None takes `moved_to`.
        out: folder of the index; None takes `default_index`.
        target: of the bundle; None takes the index's, onnx for a new one.
        vectors: how the HNSW graph stores them: f32, f16 or i8; None takes the index's, i8 for a new one.
        watch: go on while pictures come and go, until Ctrl-C.
        max_pixels: larger pictures are left out; None takes the index's, the default limit for a new one.
        moved_to: where the folder of an indexed one's pictures is now.
        drop_missing: forget the pictures of folders that are empty or away, too.

    Returns:
        What the last update did.

    Raises:
        UserError: no bundle, no picture, another writer, or an index of another folder or embedding space.
    """
    folder = out or default_index(bundle)
    source = moved_to or pictures
    if source is None:
        raise UserError("no folder of pictures. Give it behind the bundle, or its new place by --moved-to.")
    with open_writer(bundle, source, folder, target, vectors, max_pixels=max_pixels, moved_to=moved_to) as writer:
        report = writer.update(drop_missing=drop_missing)
        if watch:
            from conaclip_edge.search.watch import keep_current

            say(index_text(report))
            report = keep_current(writer, report)
        return report


def search_pictures(
    index: Path,
    query: str = "",
    k: int = 10,
    image: Path | None = None,
    bundle: Path | None = None,
    exact: bool = False,
    *,
    only: PictureFilter | None = None,
    min_score: float | None = None,
    fold: bool = True,
) -> SearchReport:
    """Search an index.

    Args:
        index: its folder.
        query: as it was typed.
        k: how many pictures.
        image: file of a picture to look for alike ones of.
        bundle: where the index's bundle is now, if it was moved.
        exact: take misspelt words as they are.
        only: pictures that are looked at; all, if it is left out.
        min_score: cosine that a picture has to have at least.
        fold: show near-duplicates once.

    Raises:
        UserError: nothing to look for, a picture that cannot be read, or no or a damaged index or bundle.
    """
    picture = read_query_picture(image)
    searcher = open_searcher(index, bundle)
    searched = query if exact else searcher.correct(query)
    found = searcher.search(parse_query(searched, picture), k, only, fold, min_score)
    hits = found.hits
    corrected = [f"searched for “{searched}”; --exact searches for “{query}”."] if searched != query else []
    return SearchReport(
        index=str(index),
        query=query,
        searched=searched,
        image=str(image) if image else None,
        hits=tuple(FoundPicture(path=str(hit.path), score=round(hit.score, 6), key=hit.key) for hit in hits),
        alike={
            hit.key: tuple(str(one.path) for one in found.alike.get(hit.key, ()))
            for hit in hits
            if hit.key in found.alike
        },
        cut_off=None if found.cut_off is None else round(found.cut_off, 6),
        encode_ms=round(found.encode_ms, 3),
        search_ms=round(found.search_ms, 3),
        notes=(*corrected, *found.notes),
    )


def read_query_picture(image: Path | None) -> bytes | None:
    """Return the bytes of a picture to look for, of any kind that is indexed.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return picture_bytes(image) if image else None
    except OSError as error:
        raise UserError(f"cannot read --image {image}: {error.strerror}.") from error
    except BadPicture as error:
        raise UserError(f"--image {image} {error}.") from error
