"""Typed recipes, studies, targets and suites; `conaclip_edge.config.parse` reads them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of all configs: frozen, and no key is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)
