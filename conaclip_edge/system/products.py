"""What the commands write, and the check that nothing else is replaced by it."""

from __future__ import annotations

import os
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from conaclip_edge.errors import UserError

LONGEST_NAME = 180  # bytes; names of what is written beside it on the way are up to 60 longer


class Product(NamedTuple):
    """A kind of folder that a command writes.

    Attributes:
        name: in the words of an error.
        marks: each such folder has one of these files.
        files: patterns of what else lies at its top.
    """

    name: str
    marks: tuple[str, ...]
    files: tuple[str, ...] = ()


_WEIGHTS = ("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json")
STUDENT = Product(
    "a student",
    ("training.json",),
    (*_WEIGHTS, "quantization.json", "preprocess.json", "training.jsonl", "curves.svg"),
)
TEACHER = Product(
    "a teacher",
    ("training.json", "converted.json"),
    (
        *(*_WEIGHTS, "text.json", "model-*.safetensors", "model.safetensors.index.json", "generation_config.json"),
        *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
        *("vocab.json", "vocab.txt", "merges.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model"),
        *("processor_config.json", "configuration_*.py"),
    ),
)
BUNDLE = Product("a bundle", ("manifest.json",), ("*",))  # what it does not list is found by its manifest
SITE = Product(
    "a site",
    ("site.json",),
    (
        *("*.html", "*.js", "style.css", "licences.txt", "_headers"),
        *("vendor", "model", "golden", "index", "thumbs"),
    ),
)
LAYOUT = Product(
    "a layout",
    ("layout.json",),
    (
        *("*.json", "*.onnx", "*.ort", "*.pte", "*.mlpackage", "*.safetensors", "merges.txt", "LICENSE.md"),
        *("onnx", "textual", "visual"),
    ),
)
REPORT = Product("a report", ("report.json", "speed.json"), ("report.md", "report.html", "speed.md"))
EMBEDDINGS = Product("embeddings", ("embed.json",), ("img_emb", "text_emb", "metadata", "text_metadata"))
PHONE_RECIPE = Product("a recipe for a phone", ("ios_measure.py",), ("README.md",))
REJECTED = Product("rejected files", ("rejected.json",), ("*",))
INDEX = Product(
    "an index", ("pictures.sqlite", "writer.lock"), ("pictures.sqlite-*", "graph-*", "*.tmp", ".*.tmp", ".*.lock")
)
RUN = Product(
    "an interrupted run",
    ("recipe.json",),
    ("sources.json", "tokenizer.json", "training.jsonl", "state.safetensors", "frozen*.npy", ".*.tmp"),
)


def check_out(path: Path, product: Product) -> None:
    """Refuse, before any work, a path that cannot become a folder of some kind without loss of anything else.

    Args:
        path: what is given as --out.
        product: what is going to be written there.

    Raises:
        UserError: it cannot be made, or something else is there; what, and how to mend it.
    """
    check_writable(path, f"the folder of {product.name}")
    if path.is_symlink() and not path.exists():
        raise UserError(f"--out {path} is a link that leads nowhere. Remove it, or choose another --out.")
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"--out {path} is there and is no folder. Choose another --out for {product.name}.")
    try:
        found = sorted(os.listdir(path))
    except OSError as error:
        raise UserError(f"cannot look into --out {path}: {error.strerror}. Choose another --out.") from error
    if not found:
        return
    if not any((path / mark).is_file() for mark in product.marks):
        raise UserError(
            f"--out {path} is there and is not {product.name}: it holds {_listed(found)}, which would be deleted. "
            "Move that away, or choose another --out."
        )
    foreign = [name for name in found if not _matches(name, (*product.marks, *product.files))]
    if foreign:
        raise UserError(
            f"--out {path} also holds {_listed(foreign)}, which is no part of {product.name} and would be deleted. "
            "Move that away, or choose another --out."
        )


def check_folder(path: Path, option: str = "--out") -> None:
    """Refuse, before any work, a path that is not and cannot become a folder to write into; what is in it stays.

    Args:
        path: of the folder.
        option: where the path was given, for the error.
    """
    check_writable(path, "the folder", option)
    if os.path.lexists(path) and not path.is_dir():
        raise UserError(f"{option} {path} is there and is no folder. Choose another {option}.")
    if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {path}: no right to write in it. Choose another {option}.")


def check_writable(path: Path, what: str, option: str = "--out") -> None:
    """Refuse, before any work, a path at which nothing can be made.

    Args:
        path: of a file or folder.
        what: of what, for the error.
        option: where the path was given, for the error.

    Raises:
        UserError: no name, too long a name, or a folder above that is none or cannot be written.
    """
    if path.name in ("", ".."):
        raise UserError(f"{option} {path} names no folder of its own. Give {what} a name.")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise UserError(f"{option} {path}: the name has more than {LONGEST_NAME} bytes. Choose another {option}.")
    try:
        above = next(each for each in path.absolute().parents if os.path.lexists(each))
        os.lstat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot write {path}: {getattr(error, 'strerror', error)}. Choose another {option}."
        ) from error
    if not above.is_dir():
        raise UserError(f"cannot write {path}: {above} is no folder. Choose another {option}.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {path}: no right to write in {above}. Choose another {option}.")


def _matches(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
