"""What the commands `index` and `search` do, between the command line and the index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conaclip_edge.errors import UserError
from conaclip_edge.search.query import open_searcher, parse_query
from conaclip_edge.search.spelling import speller, whole_words
from conaclip_edge.search.terminal import hits_table, hits_with_pictures, shows_pictures
from conaclip_edge.search.update import default_index, open_writer
from conaclip_edge.system.files import read_json
from conaclip_edge.system.progress import say

_NAMED = 5  # broken files that are named on a terminal; --json names all


def index_pictures(
    bundle: Path, pictures: Path, out: Path | None, target: str | None, vectors: str | None, watch: bool
) -> dict[str, Any]:
    """Bring an index up to date, once or until Ctrl-C; returns the last outcome of `Writer.update`."""
    folder = out or default_index(bundle)
    with open_writer(bundle, pictures, folder, target, vectors) as writer:
        outcome = writer.update()
        if watch:
            from conaclip_edge.search.watch import keep_current

            say(index_text(outcome))
            outcome = keep_current(writer, outcome)
        return outcome


def index_text(outcome: dict[str, Any]) -> str:
    """Say what an update did."""
    parts = [f"{outcome[name]:,} {name}" for name in ("encoded", "reused", "dropped") if outcome[name]]
    lines = [
        f"index in {outcome['index']}: {outcome['pictures']:,} pictures ({', '.join(parts) or 'nothing new'}) "
        f'in {outcome["seconds"]:.1f} s. Next: conaclip-edge search {outcome["index"]} "red bicycle"'
    ]
    broken = outcome["broken"]
    if broken:
        lines.append(f"{len(broken)} left out:")
        lines += [f"  {one['path']}: {one['reason']}" for one in broken[:_NAMED]]
        if len(broken) > _NAMED:
            lines.append(f"  and {len(broken) - _NAMED} more; --json names all")
    return "\n".join(lines)


def search_pictures(
    index: Path, query: str, k: int, image: Path | None, bundle: Path | None, exact: bool = False
) -> dict[str, Any]:
    """Search an index.

    Args:
        index: its folder.
        query: as it was typed.
        k: how many pictures.
        image: file of a picture to look for alike ones of.
        bundle: where the index's bundle is now, if it was moved.
        exact: take misspelt words as they are.

    Returns:
        {"index", "query", "searched" (with spelling corrected), "image", "hits": [{"path", "score", "key"}],
        "encode_ms", "search_ms", "notes"}.
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
    return {
        "index": str(index),
        "query": query,
        "searched": searched,
        "image": str(image) if image else None,
        "hits": [{"path": str(hit.path), "score": round(hit.score, 6), "key": hit.key} for hit in found.hits],
        "encode_ms": round(found.encode_ms, 3),
        "search_ms": round(found.search_ms, 3),
        "notes": [*corrected, *found.notes],
    }


def found_text(outcome: dict[str, Any], terminal: bool) -> str:
    """Format what was found: with thumbnails where the terminal shows pictures, else as a table."""
    protocol = shows_pictures() if terminal else None
    shown = hits_with_pictures(outcome["hits"], protocol) if protocol else hits_table(outcome["hits"], terminal)
    notes = [f"note: {note}" for note in outcome["notes"]]
    times = f"query encoded in {outcome['encode_ms']:.1f} ms, searched in {outcome['search_ms']:.1f} ms"
    return "\n".join([shown, *notes, times])
