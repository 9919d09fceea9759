"""speed.json: the findings of the speed suite."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.parse import parse_json
from conaclip_edge.benchmarks.schema.spread import Spread
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.system.files import read_json
from conaclip_edge.system.result import Result

SCHEMA: Literal["conaclip-edge/speed/1"] = "conaclip-edge/speed/1"


class Finding(Result):
    """One measured number.

    Attributes:
        axis: what is compared, as the suite names it.
        what: the number in words: what over what, or what it counts.
        unit: "" for a ratio.
        value: median and quartiles; of processor time where times are compared.
        wall: the same by wall clock, where times are compared.
        n: number of rounds, or of what was counted.
        bar: what it must reach; None where nothing is asked.
        most: whether the bar is the largest value allowed (else the least).
        note: what the reader has to know about it.
    """

    axis: str
    what: str
    unit: str = ""
    value: Spread
    wall: Spread | None = None
    n: int
    bar: float | None = None
    most: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached by the median; None without one."""
        if self.bar is None:
            return None
        return self.value.median <= self.bar if self.most else self.value.median >= self.bar


class SpeedReport(Result):
    """speed.json: the findings with the machine and the suite that gave them."""

    schema_: Literal["conaclip-edge/speed/1"] = Field(SCHEMA, alias="schema")
    created: str
    environment: Environment
    suite: SpeedConfig
    models: dict[str, str]
    findings: tuple[Finding, ...]


def exactly(value: float) -> Spread:
    """Return the spread of a number that is counted, not timed."""
    return Spread(median=value, q25=value, q75=value)


def read_speed(path: Path) -> SpeedReport:
    """Read and check a speed.json.

    Raises:
        UserError: there is none, or it is no speed report of today's schema.
    """
    values = read_json(path, "speed report")
    return parse_json(SpeedReport, values, str(path), f"A speed report of schema {SCHEMA} is needed.")
