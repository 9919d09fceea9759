"""Tokenising for a text tower: `tokenizer.json`, cut to the context, always with an EOS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, processors

from conaclip_edge.errors import UserError

# What ends a text in the tokenizers of CLIP, BERT-like and T5-like teachers, in the order of trust.
_EOS_NAMES = ("<|endoftext|>", "[SEP]", "</s>", "<eos>")
_PAD_NAMES = ("[PAD]", "<pad>", "<|endoftext|>", "</s>", "<eos>")


def whole_text(text: str) -> str:
    """Replace what UTF-8 cannot hold, which the tokenizers library refuses, by U+FFFD.

    Such halves of surrogate pairs come from bytes on a command line that are not in the terminal's encoding.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """Tell in one line what the tokenizers library makes of a bad file."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except FileNotFoundError:
        raise UserError(f"no tokenizer at {file}: a fast tokenizer (tokenizer.json) is needed.") from None
    except BaseException as error:  # the library raises bare Exceptions, and panics, which are none
        raise UserError(f"cannot read tokenizer {file}: {error}.") from error


class TextTokenizer:
    """Maps texts to int32 ids with the first EOS where the tower pools.

    A file that pads every text to the context is of a tower that was trained so (SigLIP's): its ids are taken as they
    are, always `context` of them.

    Args:
        file: a `tokenizer.json`.
        context: the largest number of ids of a text, special tokens included.
        content: of the file, where it is to be read otherwise than it lies there; `file` is what errors name then.
        ignore_padding: as of a teacher's file, which may pad though its student's tower is not trained on padding.
    """

    def __init__(self, file: Path, context: int, content: str | None = None, ignore_padding: bool = False):
        self.file, self.context = file, context
        with _told(file):
            self.content = file.read_bytes().decode("utf-8") if content is None else content
            self.tokenizer = Tokenizer.from_str(self.content)
            padding = None if ignore_padding else self.tokenizer.padding
            self.tokenizer.no_padding()
            self.tokenizer.enable_truncation(context)
            eos_id = eos_of(self.tokenizer)
            pads = [self.tokenizer.token_to_id(name) for name in _PAD_NAMES]
            self.fixed_length = padding is not None and padding["length"] == context
            if padding is not None and self.fixed_length:
                self.tokenizer.enable_padding(pad_id=padding["pad_id"], pad_token=padding["pad_token"], length=context)
                pads = [padding["pad_id"]]
        pad_id = next((number for number in pads if number is not None), None)
        if self.fixed_length and eos_id is None:
            eos_id = pad_id
        for number, names in ((eos_id, _EOS_NAMES), (pad_id, _PAD_NAMES)):
            if number is None:
                wanted = ", ".join(names)
                raise UserError(f"tokenizer {file} has none of the tokens {wanted}; one of them must end a text.")
        self.eos_id, self.pad_id = int(eos_id or 0), int(pad_id or 0)

    @property
    def vocab_size(self) -> int:
        """Number of rows that a token table needs."""
        return max(self.tokenizer.get_vocab().values()) + 1

    @property
    def special_ids(self) -> list[int]:
        """Ids that mark begin, end or padding and say nothing by themselves."""
        with _told(self.file):
            frame = self.tokenizer.encode("").ids
        return sorted({*frame, self.eos_id, self.pad_id})

    def ids(self, text: str) -> list[int]:
        """Tokenise one text: 2..context ids, the last one EOS; of a fixed length, `context` as the file gives them."""
        with _told(self.file):
            ids: list[int] = self.tokenizer.encode(whole_text(text)).ids
        if self.fixed_length:
            return ids
        if ids[-1:] != [self.eos_id]:
            ids = [*ids[: self.context - 1], self.eos_id]
        return ids if len(ids) > 1 else [*ids, self.eos_id]

    def cuts(self, text: str) -> bool:
        """Say whether a text has more tokens than the context."""
        with _told(self.file):
            return bool(self.tokenizer.encode(whole_text(text)).overflowing)

    def __call__(self, texts: list[str], full: bool = False) -> np.ndarray:
        """Tokenise texts to int32 ids [n, longest], padded after EOS; `full`: [n, context]."""
        rows = [self.ids(text) for text in texts]
        longest = self.context if full else max(map(len, rows), default=2)
        padded = np.full((len(rows), longest), self.pad_id, dtype=np.int32)
        for row, ids in zip(padded, rows, strict=True):
            row[: len(ids)] = ids
        return padded


def for_context(tokenizer_json: dict[str, Any], context: int) -> dict[str, Any]:
    """Return a tokenizer.json that gives what a text tower takes to any library that reads it as it is.

    A text is cut to the context with its EOS kept, nothing is padded, and every text ends with EOS.

    Args:
        tokenizer_json: of the teacher, pruned or whole; some pad every text beyond the context.
        context: the largest number of ids of a text, special tokens included.
    """
    cut = {"direction": "Right", "max_length": context, "strategy": "LongestFirst", "stride": 0}
    content = tokenizer_json | {"padding": None, "truncation": cut}
    tokenizer = Tokenizer.from_str(json.dumps(content))
    eos_id = eos_of(tokenizer)
    if eos_id is None or tokenizer.encode("a").ids[-1:] == [eos_id]:
        return content
    eos = tokenizer.id_to_token(eos_id)
    ending = processors.TemplateProcessing(single=f"$A {eos}", special_tokens=[(eos, eos_id)])
    own = tokenizer.post_processor
    tokenizer.post_processor = ending if own is None else processors.Sequence([own, ending])
    changed: dict[str, Any] = json.loads(tokenizer.to_str())
    return content | {"post_processor": changed["post_processor"]}


def padded_to_context(tokenizer_json: dict[str, Any], context: int, pad_token: str, pad_id: int) -> dict[str, Any]:
    """Return a tokenizer.json that gives exactly `context` ids of every text, to any library that reads it as it is.

    Args:
        tokenizer_json: of a model whose text tower was trained on padded texts without a mask.
        context: number of ids of a text, special tokens included.
        pad_token: fills a text up behind its end.
        pad_id: its id.
    """
    padding: dict[str, Any] = {"strategy": {"Fixed": context}, "direction": "Right", "pad_to_multiple_of": None}
    padding |= {"pad_id": pad_id, "pad_type_id": 0, "pad_token": pad_token}
    cut = {"direction": "Right", "max_length": context, "strategy": "LongestFirst", "stride": 0}
    return tokenizer_json | {"padding": padding, "truncation": cut}


def eos_of(tokenizer: Tokenizer) -> int | None:
    """Return the id that ends a text; None where the vocabulary has none of the known names."""
    # A vocabulary may hold several of the names (Gemma's has '</s>' as HTML): what ends every text goes first.
    ends = tokenizer.encode("").tokens[-1:]
    names = sorted(_EOS_NAMES, key=lambda name: name not in ends)
    found = (tokenizer.token_to_id(name) for name in names)
    return next((int(number) for number in found if number is not None), None)
