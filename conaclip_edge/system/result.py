"""What every command's result is: a typed value whose dump is what `--json` prints."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Result(BaseModel):
    """Base of results and reports: frozen, no unknown key, and no number that JSON cannot hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Extended(Result):
    """Base of results that got more keys: `later` names those that are left out where nothing is known.

    So what an older version wrote reads, and is written again, as it is.
    """

    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_unknown(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {key: value for key, value in content.items() if key not in self.later or value not in (None, {}, [])}
