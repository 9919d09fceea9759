"""What every command's result is: a typed value whose dump is what `--json` prints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Result(BaseModel):
    """Base of results and reports: frozen, no unknown key, and no number that JSON cannot hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
