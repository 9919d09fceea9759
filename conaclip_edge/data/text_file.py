"""A file of texts without pictures: one a line."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.errors import UserError


def read_texts(path: Path, where: str) -> list[str]:
    """Return the texts of a file in their order, each once; blank lines are left out.

    Args:
        path: UTF-8, one text a line.
        where: the key of the recipe that names it.

    Raises:
        UserError: no such file, not UTF-8, or no text in it.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: {path} is not UTF-8 at byte {error.start}. Save it as UTF-8 text.") from error
    except OSError as error:
        raise UserError(
            f"{where}: cannot read {path} ({error.strerror}). Name a file with one text per line."
        ) from error
    texts = list(dict.fromkeys(text for line in lines if (text := " ".join(line.split()))))
    if not texts:
        raise UserError(f"{where}: {path} holds no text. Write one per line, or leave the key out.")
    return texts
