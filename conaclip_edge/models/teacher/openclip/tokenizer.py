"""The tokenizer of an OpenCLIP checkpoint: of its folder, or CLIP's, whose merges OpenCLIP's package has."""

from __future__ import annotations

import re
import string
from importlib.util import find_spec
from typing import Any

from tokenizers import Regex, normalizers

from conaclip_edge.errors import UserError
from conaclip_edge.models.clip_merges import read_merges
from conaclip_edge.models.teacher.loading import use
from conaclip_edge.models.teacher.openclip.layout import OpenClipCheckpoint
from conaclip_edge.models.transformers_folder import check_tokenizer, present
from conaclip_edge.system.extras import package_folder

_FILES = ("tokenizer.json", "vocab.json")
CLIP_PIECES = 49408
# of all that OpenCLIP mends in a text (by ftfy), what captions of people have
_STRAIGHT_QUOTES = [
    normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
    normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
]


def clip_tokenizer(checkpoint: OpenClipCheckpoint, source: str) -> Any:
    """Make the CLIPTokenizer of a checkpoint that names no other tokenizer.

    Args:
        checkpoint: its folder may hold tokenizer.json, or vocab.json and merges.txt.
        source: of the teacher, for errors.

    Raises:
        UserError: there is no file of a tokenizer, and OpenCLIP is not installed.
    """
    from transformers import CLIPTokenizer

    context = int(checkpoint.text.get("context_length", 77))
    size = int(checkpoint.text.get("vocab_size", CLIP_PIECES))
    folder = checkpoint.folder

    def read() -> Any:
        if present(folder, _FILES):
            tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True, model_max_length=context)
        else:
            vocab, merges = read_merges(package_folder("open_clip") / "bpe_simple_vocab_16e6.txt.gz", size)
            tokenizer = CLIPTokenizer(vocab, merges, model_max_length=context)
        fast = tokenizer.backend_tokenizer
        fast.normalizer = normalizers.Sequence([*_STRAIGHT_QUOTES, fast.normalizer])
        return tokenizer

    if not present(folder, _FILES) and find_spec("open_clip") is None:
        raise UserError(
            f"teacher {source} has no tokenizer.json. Put the one of openai/clip-vit-base-patch32 beside its weights, "
            "which is CLIP's vocabulary, or install OpenCLIP, which has it: pip install 'conaclip-edge[open-clip]'"
        )
    return use("tokenizer", source, read)


def named_tokenizer(checkpoint: OpenClipCheckpoint, source: str) -> Any:
    """Make the tokenizer that a checkpoint names as one of transformers, with what OpenCLIP does to a text before it.

    Args:
        checkpoint: holds the tokenizer's files; nothing is fetched.
        source: of the teacher, for errors.

    Raises:
        UserError: the files are missing or damaged, or the tokenizer has no fast form.
    """
    from transformers import AutoTokenizer

    folder = str(checkpoint.folder)
    check_tokenizer(checkpoint.folder, f"teacher {source}")
    tokenizer: Any = use(
        "tokenizer",
        source,
        lambda: AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True),
    )
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None:
        own = [] if fast.normalizer is None else [fast.normalizer]
        clean = (checkpoint.text.get("tokenizer_kwargs") or {}).get("clean", "whitespace")
        fast.normalizer = normalizers.Sequence([*_cleaning(str(clean)), *own])
    return tokenizer


def _cleaning(clean: str) -> list[Any]:
    """Return what OpenCLIP's `clean` does to a text, but for mending broken characters and HTML."""
    steps: list[Any] = [*_STRAIGHT_QUOTES]
    if clean == "canonicalize":
        punctuation = re.escape(string.punctuation.replace("_", ""))
        steps += [normalizers.Replace("_", " "), normalizers.Replace(Regex(f"[{punctuation}]"), "")]
    if clean in ("canonicalize", "lower"):
        steps.append(normalizers.Lowercase())
    return [*steps, normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
