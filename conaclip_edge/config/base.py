"""Typed recipes, studies, targets and suites; `conaclip_edge.config.parse` reads them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


def _folder_name(name: str) -> str:
    if not name.strip() or name in (".", "..") or "/" in name or not name.isprintable() or len(name.encode()) > 100:
        raise ValueError("it names a folder, so it has 1 to 100 bytes, and no slash or line break")
    return name


Name = Annotated[str, AfterValidator(_folder_name)]
"""What a recipe calls itself: `runs/<name>` is where its result goes."""


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
