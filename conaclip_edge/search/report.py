"""What the commands `index` and `search` return, and how it is shown on a terminal."""

from __future__ import annotations

from pydantic import Field

from conaclip_edge.search.terminal import hits_table, hits_with_pictures, shows_pictures
from conaclip_edge.system.result import Result

_KINDS = 8  # kinds of passed over things that are named
_NAMED = 5  # broken files that are named on a terminal; --json names all


class BrokenPicture(Result):
    """A file that cannot be indexed.

    Attributes:
        path: below the folder of pictures.
        reason: why, in one line.
    """

    path: str
    reason: str


class IndexReport(Result):
    """What an update of an index did.

    Attributes:
        index: its folder.
        pictures: indexed now.
        encoded: of them, by the image tower, in this update.
        reused: of them, whose bytes were known.
        dropped: pictures that are no longer in the folder.
        broken: files that cannot be indexed, and folders that cannot be looked into.
        passed_over: kind of what was not looked at (a suffix, "hidden", ...) -> how many of it.
        seconds: that it took.
    """

    index: str
    pictures: int
    encoded: int
    reused: int
    dropped: int
    broken: tuple[BrokenPicture, ...]
    passed_over: dict[str, int] = Field(default_factory=dict)
    seconds: float


class FoundPicture(Result):
    """A picture that was found.

    Attributes:
        path: of its file, absolute.
        score: cosine with the query.
        key: of the picture in the index.
    """

    path: str
    score: float
    key: int


class SearchReport(Result):
    """What a search gave.

    Attributes:
        index: folder of the index.
        query: as it was typed.
        searched: the query with its spelling corrected.
        image: file of the picture that was looked for.
        hits: best first.
        alike: key of a hit -> files of its near-duplicates, which are not among the hits.
        cut_off: cosine below which a hit is no nearer than what random words find; None where it is not known.
        encode_ms: time of the towers.
        search_ms: time of the index.
        notes: what the user should know, e.g. that the model read only the beginning of the query.
    """

    index: str
    query: str
    searched: str
    image: str | None
    hits: tuple[FoundPicture, ...]
    alike: dict[int, tuple[str, ...]] = Field(default_factory=dict)
    cut_off: float | None = None
    encode_ms: float
    search_ms: float
    notes: tuple[str, ...]


def index_text(report: IndexReport) -> str:
    """Say what an update did."""
    counts = {"encoded": report.encoded, "reused": report.reused, "dropped": report.dropped}
    parts = [f"{count:,} {name}" for name, count in counts.items() if count]
    lines = [
        f"index in {report.index}: {report.pictures:,} pictures ({', '.join(parts) or 'nothing new'}) "
        f'in {report.seconds:.1f} s. Next: conaclip-edge search {report.index} "red bicycle"'
    ]
    if report.broken:
        lines.append(f"{len(report.broken)} left out:")
        lines += [f"  {one.path}: {one.reason}" for one in report.broken[:_NAMED]]
        if len(report.broken) > _NAMED:
            lines.append(f"  and {len(report.broken) - _NAMED} more; --json names all")
    if report.passed_over:
        most = sorted(report.passed_over.items(), key=lambda item: -item[1])
        named = ", ".join(f"{count:,} {kind}" for kind, count in most[:_KINDS])
        more = sum(count for _, count in most[_KINDS:])
        lines.append(f"passed over: {named}{f', {more:,} of other kinds' if more else ''}")
    return "\n".join(lines)


def search_text(report: SearchReport, terminal: bool) -> str:
    """Format what was found: with thumbnails where the terminal shows pictures, else as a table."""
    protocol = shows_pictures() if terminal else None
    hits = [(hit.path, hit.score) for hit in report.hits]
    shown = []
    if hits:
        shown = [hits_with_pictures(hits, protocol) if protocol else hits_table(hits, terminal)]
    more = sum(map(len, report.alike.values()))
    low = sum(report.cut_off is not None and score < report.cut_off for _, score in hits)
    if 0 < low < len(hits):
        shown.append(f"the last {low} are no nearer than what random words find")
    alike = [f"{more} near-duplicate{'s' if more > 1 else ''} of these not shown; --all shows them"] if more else []
    notes = [f"note: {note}" for note in report.notes]
    times = f"query encoded in {report.encode_ms:.1f} ms, searched in {report.search_ms:.1f} ms"
    return "\n".join([*shown, *alike, *notes, times])
