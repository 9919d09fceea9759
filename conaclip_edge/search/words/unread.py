"""What of a query the model cannot read: words whose characters its vocabulary does not have."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

from conaclip_edge.models.tokenizer import TextTokenizer, whole_text

_WORD = re.compile(r"\S+")
_SAYS = re.compile(r"[^\W_]|[^\x00-\x7f]")  # a letter, a digit, or a sign of no ASCII, as emoji are
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # what a vocabulary spells unknown characters with
_NOTHING = ("\N{LOWER ONE EIGHTH BLOCK}", "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}", "</w>", "##")


class Reader:
    """Tells what a tokenizer makes of a text.

    Args:
        tokenizer: of the text tower.
    """

    def __init__(self, tokenizer: TextTokenizer):
        self._tokenizer = tokenizer.tokenizer
        self._encode = self._tokenizer.encode
        whole = self._tokenizer.to_str()
        model = json.loads(whole)["model"]
        unknown = model.get("unk_id")  # of Unigram, whose unknown tokens are the text itself
        if unknown is None and model.get("unk_token"):
            unknown = self._tokenizer.token_to_id(model["unk_token"])
        self._silent = {unknown, *(self._encode("").ids)}
        self._bytes = '"ByteLevel"' in whole

    def unread(self, text: str) -> list[str]:
        """Return the words of a text of which the model reads no character, in their order.

        Args:
            text: as it is given to the tokenizer; marks alone, as a dash between words, are no words.
        """
        words = [found for found in _WORD.finditer(text) if _SAYS.search(found[0])]
        return [found[0] for found in words if not self._read(found[0])]

    def reads(self, text: str) -> bool:
        """Say whether the model reads anything of a text; of one without any word, as "?", it does."""
        words = [found for found in _WORD.findall(text) if _SAYS.search(found)]
        return not words or any(map(self._read, words))

    def silent_ids(self) -> list[int]:
        """Return the ids of all tokens that stand for nothing, for a page that knows ids alone."""
        vocabulary = self._tokenizer.get_vocab()
        return sorted(number for token, number in vocabulary.items() if not self._token_says(token, number))

    def _token_says(self, token: str, number: int) -> bool:
        return number not in self._silent and _says(token, self._bytes)

    def _read(self, word: str) -> bool:
        found = self._encode(whole_text(word))
        return any(map(self._token_says, found.tokens, found.ids))


@cache
def _says(token: str, spells_bytes: bool) -> bool:
    """Say whether a token stands for anything, not for a space or for one byte of an unknown character."""
    if _BYTE.fullmatch(token):
        return False
    for mark in _NOTHING:
        token = token.replace(mark, "")
    token = token.strip()
    return bool(token) and not (spells_bytes and len(token) == 1 and not token.isascii())


def silent_ids(tokenizer: Path, context: int) -> list[int]:
    """Return the ids of a tokenizer.json's tokens that stand for nothing.

    Args:
        tokenizer: the file.
        context: of the text tower, in tokens.

    Raises:
        UserError: the file cannot be read.
    """
    return Reader(TextTokenizer(tokenizer, context)).silent_ids()
