"""The words of a tokenizer's vocabulary, and phrases of them where a data set has no captions."""

from __future__ import annotations

from conaclip_edge.data.synthetic import synthetic_texts
from conaclip_edge.models.tokenizer import TextTokenizer


def surface(tokenizer: TextTokenizer) -> list[str]:
    """Return every vocabulary piece as the text it stands for, without the marks of its tokenizer."""
    pieces = {index: piece for piece, index in tokenizer.tokenizer.get_vocab().items()}
    texts = []
    for index in range(tokenizer.vocab_size):
        text = tokenizer.tokenizer.decode([index], skip_special_tokens=False)
        texts.append((text or pieces.get(index, "")).removeprefix("##").strip())
    return texts


def whole_words(tokenizer: TextTokenizer) -> list[str]:
    """Return the words of three letters and more that the tokenizer knows as one piece, in the order of their ids."""
    frame = len(tokenizer.tokenizer.encode("").ids)
    words = dict.fromkeys(text for text in surface(tokenizer) if len(text) > 2 and text.isalpha())
    return [word for word in words if len(tokenizer.tokenizer.encode(word).ids) == frame + 1]


def words_or_letters(tokenizer: TextTokenizer) -> list[str]:
    """Return the whole words, or of a tokenizer of bytes or letters its pieces that are letters."""
    words = whole_words(tokenizer)
    return words or [piece for piece in dict.fromkeys(surface(tokenizer)) if piece.isalpha()]


def vocabulary_phrases(tokenizer: TextTokenizer, count: int, skip: int = 0) -> list[str]:
    """Make phrases of one to four words that the tokenizer knows: texts where a data set has no captions.

    Args:
        tokenizer: of the student.
        count: of phrases.
        skip: so many first ones are left out; other phrases than those of another call.
    """
    words = words_or_letters(tokenizer)
    if not words:  # a vocabulary of marks and numbers
        pieces = surface(tokenizer)
        words = [pieces[index] for index in range(len(pieces)) if pieces[index] and index not in tokenizer.special_ids]
    return synthetic_texts([], words, skip + count)[skip:]
