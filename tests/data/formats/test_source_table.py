"""The rows of a source in memory, as without pyarrow, and in an Arrow file give the same pictures."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.data.formats.arrow_file import ArrowRows, open_table
from conaclip_edge.data.formats.source_table import Index, RowList, grouped
from conaclip_edge.data.rows.source_row import Row, bad_row, content_row, file_row

ROWS = [
    file_row("b.png", ["one"], "train"),
    file_row("a.png", ["two", "three"], "test"),
    bad_row("lost", "no bytes", "train"),
    file_row("b.png", ["four"], "val"),
    content_row(b"bytes", "c", [], "train", "shard.tar", 512, 5),
    file_row("a.png", ["five"], "test"),
]


def everything(index: Index) -> list[object]:
    """Return all that an index says."""
    places = [index.place(i) for i in range(len(index.starts))]
    return [[*index.column("key")], [*index.captions()], index.splits().tolist(), places, index.skipped()]


def in_file(folder: Path, rows: list[Row]) -> Index:
    return grouped(ArrowRows(open_table(folder / "index.arrow", folder, lambda: rows)))


def test_both_group_the_rows_alike(tmp_path: Path) -> None:
    found = everything(grouped(RowList(ROWS)))
    assert found == everything(in_file(tmp_path, ROWS))
    assert found[:3] == [
        ["b.png", "a.png", ROWS[4].key],
        [("four",), ("two", "three", "five"), ()],
        ["val", "test", "train"],
    ]
    assert found[4] == ["lost: no bytes"]


def test_both_take_a_source_without_rows(tmp_path: Path) -> None:
    assert everything(grouped(RowList([]))) == everything(in_file(tmp_path, []))
