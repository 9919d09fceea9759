"""A model of others as a student: its shape and its tokenizer, by the module of its family."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from conaclip_edge.config.model import ModelConfig
from conaclip_edge.errors import ConaclipError, UserError
from conaclip_edge.models.student.adopted.families import family_of
from conaclip_edge.models.student.adopted.picture_input import picture_input
from conaclip_edge.models.tokenizer import TextTokenizer, for_context, padded_to_context

T = TypeVar("T")


@dataclass(frozen=True)
class Adopted:
    """What a folder of others says of a model, but for its weights.

    Attributes:
        family: name of its family.
        config: its shape as a student.
        tokenizer: its own, with what transformers does to a text.
        student_name: maps the name of a tensor in its file to that in a student; None for one that is no weight.
    """

    family: str
    config: ModelConfig
    tokenizer: TextTokenizer
    student_name: Callable[[str], str | None]


def read_shape(folder: Path, content: dict[str, Any]) -> Adopted:
    """Read the shape and the tokenizer of a model; its weights are not looked at.

    Args:
        folder: of the model.
        content: of its config.json.

    Raises:
        UserError: another family, or a part of it that has no form for export, or is damaged.
    """
    family = family_of(folder, content)
    module = import_module(family.module)
    picture = picture_input(folder)
    where = f"cannot read the {family.name}'s shape in {folder / 'config.json'}"
    config: ModelConfig = _read(where, lambda: module.shape(content, picture))
    tokenizer = _tokenizer(folder, config.text.context, family.padded)
    if tokenizer.vocab_size > config.text.vocab_size:
        raise UserError(
            f"{folder}: its tokenizer has {tokenizer.vocab_size} tokens, its token table only "
            f"{config.text.vocab_size} rows. Use the tokenizer files that belong to these weights."
        )
    config = _read(f"cannot use {folder}", lambda: module.with_tokenizer(config, content, tokenizer))
    return Adopted(family.name, config, tokenizer, module.student_name)


def _tokenizer(folder: Path, context: int, padded: bool) -> TextTokenizer:
    """Read a folder's tokenizer, converted where it is no fast one, with texts cut (and padded) to the context."""
    from transformers import AutoTokenizer

    from conaclip_edge.models.teacher.tokenizer_json import changed_tokenizer, lower_case

    def read() -> str:
        slow = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
        if padded:
            lower_case(slow)
        content = changed_tokenizer(slow, folder, str(folder))
        if content is None:
            content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        if not padded:
            content = for_context(content, context)
        elif slow.pad_token is None:
            raise UserError("its tokenizer names no pad_token, and its text tower was trained on padded texts")
        else:
            content = padded_to_context(content, context, str(slow.pad_token), int(slow.pad_token_id))
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    content = _read(f"cannot read the tokenizer of {folder}", read)
    return TextTokenizer(folder / "tokenizer.json", context, content)


def _read(where: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ConaclipError as error:
        text = str(error)
        raise error if str(error).endswith(".") else UserError(f"{where}: {text}.") from error
    except Exception as error:  # transformers and tokenizers raise almost anything for damaged files
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{where}: {reason}.") from error
