"""Studies: one recipe trained with many graphs."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from conaclip_edge.config.base import Config, Name
from conaclip_edge.config.distill import DistillConfig


class SizeConfig(Config):
    """A student size of the scaling curve: what it changes in the recipe's student."""

    name: Name = Field(description="of the size, in the table")
    student: dict[str, Any] = Field(default_factory=dict, description="keys of StudentConfig to change, group by group")


class StudyConfig(Config):
    """A study: which supervisions are tried on top of the baseline, how often, and what is swept of the final graph."""

    name: Name = Field("study", description="of the study, in its page")
    recipe: DistillConfig = Field(description="all runs share it; its own seed and graph do not count")
    seeds: int = Field(3, gt=0, description="runs per graph")
    cells: tuple[str, ...] = Field((), description="'learning type/loss' of the table; left out: every meaningful one")
    most: int | None = Field(None, ge=0, description="cells tried on the path at most; left out: all that help alone")
    temperatures: tuple[float, ...] = Field((), description="factors on all fixed temperatures of the final graph")
    weights: tuple[float, ...] = Field((), description="factors on the weights of all that was added to the baseline")
    sizes: tuple[SizeConfig, ...] = Field((), description="students that the final graph also trains")
    bootstrap: int = Field(2000, gt=0, description="resamples of every interval")
