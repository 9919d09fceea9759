"""The machine or phone that gave a report's numbers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from conaclip_edge.system.result import Result


class Environment(Result):
    """A machine and what ran on it.

    Attributes:
        label: how rows name it.
        kind: a phone's numbers are never shown as those of a host.
        isa: instruction sets that decide which kernels run.
        cores: that the process may use.
        load: the machine's load average (1 minute) when the benchmark began; None where the system has none.
        versions: of the packages, or of what a phone reports.
    """

    label: str
    kind: Literal["host", "phone"]
    cpu: str
    isa: tuple[str, ...] = ()
    cores: int | None = None
    memory_bytes: int | None = None
    os: str
    virtual: bool = False
    load: float | None = None
    versions: dict[str, str] = Field(default_factory=dict)
