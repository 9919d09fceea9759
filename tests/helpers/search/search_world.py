"""A small bundle with real ONNX files, pictures and their index, for the tests of pages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class SearchWorld:
    """Folders; tests change none of them.

    Attributes:
        home: what `make_search_world` filled.
    """

    home: Path

    @property
    def bundle(self) -> Path:
        return self.home / "bundle"

    @property
    def pictures(self) -> Path:
        return self.home / "data"

    @property
    def index(self) -> Path:
        return self.home / "index"

    def queries(self) -> list[str]:
        """Return captions of the pictures, in their order."""
        lines = (self.pictures / "metadata.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line)["captions"][0] for line in lines]


def make_search_world(home: Path) -> None:
    """Export a student with random towers and index its pictures."""
    import torch

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        from conaclip_edge.config.export import ExportConfig
        from conaclip_edge.export.export_bundle import export_bundle
        from conaclip_edge.search.commands import index_pictures
        from tests.helpers import bar_pictures

        of_words = json.loads(bar_pictures.tokenizer_json())
        patch.setattr(bar_pictures, "tokenizer_json", lambda: json.dumps(wordpiece(of_words)))
        bar_pictures.write_checkpoint(home / "student", bar_pictures.write_pictures(home / "data"))
        target = ExportConfig(target="onnx", precision="int8", min_cosine=0.99)
        export_bundle(home / "student", [target], home / "bundle")
        index_pictures(home / "bundle", home / "data", home / "index")


def wordpiece(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Turn a tokenizer of whole words into BERT's kind, which people's models have; the ids stay."""
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    model |= {"max_input_chars_per_word": 100, "vocab": tokenizer["model"]["vocab"]}
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    normalizer |= {"strip_accents": None, "lowercase": True}
    return tokenizer | {"model": model, "normalizer": normalizer, "pre_tokenizer": {"type": "BertPreTokenizer"}}
