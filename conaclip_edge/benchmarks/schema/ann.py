"""The section of a report on the index: its HNSW graph compared with exact search."""

from __future__ import annotations

from typing import Literal

from conaclip_edge.system.result import Result


class AnnRow(Result):
    """One graph: so many vectors in one storage, all on one thread.

    Attributes:
        id: storage and number of vectors.
        raw_bytes: of the vectors alone, as they are stored.
        build_s: seconds of building it.
        build_cpu_s: those of the processor, which others' work does not stretch.
        file_bytes: of its file.
        load_s: reading it into memory, to add to it.
        add_s: adding new vectors to it, in memory.
        add_cpu_s: those of the processor.
        write_s: writing it again.
        graph_recall: share of the k nearest by exact search that the graph ranks first k.
        recall: the same after its candidates are ranked by exact cosines, as a search does.
        p50: milliseconds of a query of the graph.
        p95: the same.
        p50_cpu: milliseconds of the processor.
        p95_cpu: the same.
        resident_bytes: memory after all queries, the file being mapped.
        loaded_bytes: memory of the graph read into memory.
    """

    id: str
    vectors: int
    precision: Literal["f32", "f16", "i8"]
    raw_bytes: int
    build_s: float
    build_cpu_s: float
    file_bytes: int
    load_s: float
    add_s: float
    add_cpu_s: float
    write_s: float
    graph_recall: float
    recall: float
    p50: float
    p95: float
    p50_cpu: float
    p95_cpu: float
    resident_bytes: int
    loaded_bytes: int


class AnnReport(Result):
    """The index's HNSW graph compared with exact search.

    Attributes:
        data: what the vectors are.
        choice: the smallest storage that finds enough at every size.
    """

    data: str
    queries: int
    k: int
    added: int
    connectivity: int
    expansion_add: int
    expansion_search: int
    choice: Literal["f32", "f16", "i8"] | None
    rows: tuple[AnnRow, ...]
