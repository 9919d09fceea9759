"""What all parts of a report have in common."""

from __future__ import annotations

from pydantic import ConfigDict

from conaclip_edge.config.base import Config


class Part(Config):
    """Base of the report's parts: no unknown key, no NaN, nothing coerced but what JSON cannot tell apart."""

    model_config = ConfigDict(allow_inf_nan=False)
