"""How alike two rows of a report embed the same inputs."""

from __future__ import annotations

from conaclip_edge.benchmarks.schema.row import Tower
from conaclip_edge.system.result import Result


class Agreement(Result):
    """Cosines of two rows' embeddings of the same inputs, one by one.

    Attributes:
        tower: whose embeddings.
        rows: ids of the two rows.
        mean: of the cosines.
        least: of the cosines.
        n: pictures or captions.
    """

    tower: Tower
    rows: tuple[str, str]
    mean: float
    least: float
    n: int
