"""Which of the indexed pictures a search looks at: those of a folder, of a name, of some days."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from conaclip_edge.errors import UserError

_DATES = ("%Y-%m-%d", "%Y-%m", "%Y")


@dataclass(frozen=True)
class PictureFilter:
    """What a picture has to be like.

    Attributes:
        folder: it lies in, or in a folder in it, relative to the folder of pictures; "" for any.
        name: part of its file's name, or a pattern with * and ?, in any case; "" for any.
        after: its file was changed at or after this time, ns since 1970; None for any.
        before: and before this time.
    """

    folder: str = ""
    name: str = ""
    after: int | None = None
    before: int | None = None

    def __bool__(self) -> bool:
        """Say whether anything is asked for."""
        return self != PictureFilter()

    def takes(self, path: str, mtime_ns: int) -> bool:
        """Say whether a picture is looked at.

        Args:
            path: relative to the folder of pictures.
            mtime_ns: when its file was changed.
        """
        if self.folder and not path.startswith(f"{self.folder}/"):
            return False
        if self.name:
            pattern = self.name.lower() if set(self.name) & set("*?[") else f"*{self.name.lower()}*"
            if not fnmatch.fnmatchcase(PurePosixPath(path).name.lower(), pattern):
                return False
        return (self.after is None or mtime_ns >= self.after) and (self.before is None or mtime_ns < self.before)


def picture_filter(
    folder: str = "",
    name: str = "",
    after: str = "",
    before: str = "",
    *,
    dates: tuple[str, str] = ("--after", "--before"),
) -> PictureFilter:
    """Read what a person asked for.

    Args:
        folder: relative to the folder of pictures.
        name: part of a file's name, or a pattern with * and ?.
        after: the first day, month or year, e.g. 2024-07-01, 2024-07 or 2024.
        before: the first day, month or year that is too late.
        dates: what the user calls these two.

    Raises:
        UserError: no such date.
    """
    parts = [part for part in folder.replace("\\", "/").split("/") if part not in ("", ".")]
    return PictureFilter("/".join(parts), name, _ns(after, dates[0]), _ns(before, dates[1]))


def _ns(date: str, called: str) -> int | None:
    if not date:
        return None
    for form in _DATES:
        try:
            return int(datetime.strptime(date, form).timestamp()) * 10**9  # of the local midnight
        except (ValueError, OverflowError, OSError):
            continue
    raise UserError(f"'{date}' in {called} is no date. Write 2024-07-01, 2024-07 or 2024.")
