"""Typed recipes, studies, targets and suites; `conaclip_edge.config.parse` reads them."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Config(BaseModel):
    """Base of all configs: frozen, and no key is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Growing(Config):
    """A config that files of earlier versions hold, with later keys that are written only where they say something.

    Hashes are made of such files, as embedding spaces and digests are: a key that changes nothing must not change them.

    Attributes:
        later: the later keys; each has a default.
    """

    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        return {key: value for key, value in content.items() if key not in self.later or value != fields[key].default}
