"""Results on a terminal: a table, or thumbnails where the terminal shows pictures (kitty's and iTerm2's protocols)."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from conaclip_edge.data.preprocess import BadPicture, decode
from conaclip_edge.search.folder.picture_folder import picture_bytes

Protocol = Literal["kitty", "iterm2"]
_ROWS, _SIDE = 4, 128  # height of a thumbnail in lines and in pixels
_CHUNK = 4096  # base64 characters that kitty takes in one piece


def shows_pictures() -> Protocol | None:
    """Return by which protocol the terminal shows pictures, by what it says of itself."""
    if os.environ.get("KITTY_WINDOW_ID") or os.environ.get("TERM") in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    if os.environ.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm"):
        return "iterm2"
    return None


def hits_table(hits: Sequence[tuple[str, float]], terminal: bool) -> str:
    """Format hits (path, score) as a table; where it is no terminal, no line is broken."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("score", justify="right")
    table.add_column("picture", overflow="fold")
    for rank, (path, score) in enumerate(hits, 1):
        table.add_row(str(rank), f"{score:.3f}", Text(_plain(path)))
    width = None if terminal else 20 + max((len(path) for path, _ in hits), default=0)
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def hits_with_pictures(hits: Sequence[tuple[str, float]], protocol: Protocol) -> str:
    """Format hits (path, score) as lines, each under its thumbnail."""
    parts = []
    for rank, (path, score) in enumerate(hits, 1):
        thumbnail = _thumbnail(Path(path))
        shown = (_kitty if protocol == "kitty" else _iterm2)(thumbnail) + "\n" if thumbnail else ""
        parts.append(f"{shown}{rank:>3}  {score:.3f}  {_plain(path)}")
    return "\n".join(parts)


def _thumbnail(path: Path) -> bytes:
    """Return a picture as a small PNG; nothing where its file cannot be read any more."""
    try:
        picture = decode(picture_bytes(path), size=_SIDE)
    except (OSError, BadPicture):
        return b""
    picture.thumbnail((2 * _SIDE, _SIDE))
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def _kitty(png: bytes) -> str:
    data = base64.b64encode(png).decode()
    pieces = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    head = f"a=T,f=100,r={_ROWS},"
    return "".join(
        f"\x1b_G{'' if number else head}m={int(number < len(pieces) - 1)};{piece}\x1b\\"
        for number, piece in enumerate(pieces)
    )


def _iterm2(png: bytes) -> str:
    data = base64.b64encode(png).decode()
    return f"\x1b]1337;File=inline=1;size={len(png)};height={_ROWS};preserveAspectRatio=1:{data}\x07"


def _plain(path: str) -> str:
    """Show control characters of a file name as such: a name must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in path)
