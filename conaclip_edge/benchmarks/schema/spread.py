"""Numbers with what surrounds them: a bootstrap interval, or quartiles over rounds."""

from __future__ import annotations

from conaclip_edge.system.result import Result


class Interval(Result):
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Spread(Result):
    """Median and quartiles over the rounds."""

    median: float
    q25: float
    q75: float
