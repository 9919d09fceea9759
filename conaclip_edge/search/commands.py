"""What the commands `index` and `search` do, between the command line and the index."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.search.query import open_searcher, parse_query
from conaclip_edge.search.report import FoundPicture, IndexReport, SearchReport, index_text
from conaclip_edge.search.spelling import speller, whole_words
from conaclip_edge.search.update import default_index, open_writer
from conaclip_edge.system.files import read_json
from conaclip_edge.system.progress import say


def index_pictures(
    bundle: Path,
    pictures: Path,
    out: Path | None = None,
    target: str | None = None,
    vectors: str | None = None,
    watch: bool = False,
) -> IndexReport:
    """Bring an index up to date, or make it.

    Args:
        bundle: its image tower encodes the pictures.
        pictures: their folder.
        out: folder of the index; None takes `default_index`.
        target: of the bundle; None takes the index's, onnx for a new one.
        vectors: how the HNSW graph stores them: f32, f16 or i8; None takes the index's, i8 for a new one.
        watch: go on while pictures come and go, until Ctrl-C.

    Returns:
        What the last update did.

    Raises:
        UserError: no bundle, no picture, another writer, or an index of another folder or embedding space.
    """
    folder = out or default_index(bundle)
    with open_writer(bundle, pictures, folder, target, vectors) as writer:
        report = writer.update()
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
) -> SearchReport:
    """Search an index.

    Args:
        index: its folder.
        query: as it was typed.
        k: how many pictures.
        image: file of a picture to look for alike ones of.
        bundle: where the index's bundle is now, if it was moved.
        exact: take misspelt words as they are.

    Raises:
        UserError: nothing to look for, a picture that cannot be read, or no or a damaged index or bundle.
    """
    try:
        picture = image.read_bytes() if image else None
    except OSError as error:
        raise UserError(f"cannot read --image {image}: {error.strerror}.") from error
    searcher = open_searcher(index, bundle)
    known = read_json((bundle or searcher.index.bundle) / "tokenizer.json", "tokenizer")
    searched = query if exact else speller(whole_words(known))(query)
    found = searcher.search(parse_query(searched, picture), k)
    corrected = [f"searched for “{searched}”; --exact searches for “{query}”."] if searched != query else []
    return SearchReport(
        index=str(index),
        query=query,
        searched=searched,
        image=str(image) if image else None,
        hits=tuple(FoundPicture(path=str(hit.path), score=round(hit.score, 6), key=hit.key) for hit in found.hits),
        encode_ms=round(found.encode_ms, 3),
        search_ms=round(found.search_ms, 3),
        notes=(*corrected, *found.notes),
    )
