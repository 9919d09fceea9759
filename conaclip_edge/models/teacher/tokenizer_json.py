"""The `tokenizer.json` that students inherit from a transformers teacher: what the teacher really runs, as one file."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, processors

from conaclip_edge.errors import UserError
from conaclip_edge.system.files import atomic_file, sha256_text

_CLEANED = "A Dog, on the (red) SOFA: two words!"  # of which SigLIP reads no case and no punctuation
TOKENIZER_CACHE = Path("runs/cache/tokenizers")


def student_tokenizer_file(tokenizer: Any, folder: Path, who: str) -> Path:
    """Return the teacher's own tokenizer.json, or one written to the cache if that is missing or says something else.

    Args:
        tokenizer: a transformers tokenizer.
        folder: the teacher's folder.
        who: what an error calls it, e.g. "teacher clip".

    Raises:
        UserError: the tokenizer has no fast form.
    """
    content = changed_tokenizer(tokenizer, folder, who)
    if content is None:
        return folder / "tokenizer.json"
    text = json.dumps(content, ensure_ascii=False)
    file = TOKENIZER_CACHE / sha256_text(text)[:16] / "tokenizer.json"
    if not file.is_file():
        with atomic_file(file) as temporary:
            temporary.write_text(text, "utf-8")
    return file


def changed_tokenizer(tokenizer: Any, folder: Path, who: str) -> dict[str, Any] | None:
    """Return what a tokenizer really does, as the content of a tokenizer.json; None if the folder's own says it.

    transformers builds most tokenizers again from their vocabulary, so that an old tokenizer.json may differ from it
    (say, in lowercasing). Arguments and errors as of `student_tokenizer_file`.
    """
    own = folder / "tokenizer.json"
    if hasattr(tokenizer, "backend_tokenizer"):
        content = _content(tokenizer.backend_tokenizer)
        # Reading numbers from a file may change their last bit: both sides have to be read once.
        read = Tokenizer.from_str(json.dumps(content))
        same = own.is_file() and _content(Tokenizer.from_file(str(own))) == _content(read)
        return None if same else content
    if type(tokenizer).__name__ == "SiglipTokenizer" and not (own.is_file() and _same_ids(own, tokenizer)):
        return _content(_fast_siglip(tokenizer))
    if own.is_file():
        return None
    raise UserError(
        f"{who}: its tokenizer ({type(tokenizer).__name__}) has no fast form. Put the tokenizer.json of an equal fast "
        "tokenizer into its folder."
    )


def lower_case(tokenizer: Any) -> None:
    """Let a fast tokenizer of transformers lower-case every text first, unless it does already.

    SigLIP 2's files come with Gemma's tokenizer, which keeps case, and its pipeline lower-cases before it. A slow
    SiglipTokenizer does so by itself.
    """
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        return
    own = [fast.normalizer] if fast.normalizer is not None else []
    if not own or own[0].normalize_str("A") != own[0].normalize_str("a"):
        fast.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])


def _content(tokenizer: Tokenizer) -> dict[str, Any]:
    """What a fast tokenizer does, without the padding and truncation that each caller sets for itself."""
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    return content | {"padding": None, "truncation": None}


def _same_ids(file: Path, tokenizer: Any) -> bool:
    """Say whether a tokenizer.json removes case and punctuation as the slow tokenizer beside it does."""
    fast = Tokenizer.from_file(str(file))
    fast.no_padding()
    return bool(fast.encode(_CLEANED).ids == tokenizer(_CLEANED)["input_ids"])


def _fast_siglip(tokenizer: Any) -> Tokenizer:
    """Convert SigLIP's SentencePiece tokenizer, its removal of case and punctuation included."""
    from transformers.convert_slow_tokenizer import SpmConverter

    fast: Tokenizer = SpmConverter(tokenizer).converted()
    cleaning: list[Any] = [normalizers.Lowercase()] if tokenizer.do_lower_case else []
    cleaning += [
        normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    fast.normalizer = normalizers.Sequence([*cleaning, fast.normalizer])
    fast.post_processor = processors.TemplateProcessing(
        single=f"$A {tokenizer.eos_token}", special_tokens=[(tokenizer.eos_token, tokenizer.eos_token_id)]
    )
    return fast
