"""Telling a checkpoint of EasyNLP from one of transformers."""

from __future__ import annotations

from typing import Any


def is_easynlp(config: dict[str, Any]) -> bool:
    """Tell the config.json of an EasyNLP checkpoint from one of transformers, which shares two of the types' names."""
    text = config.get("text_config")
    roberta = config.get("model_type") == "clip" and isinstance(text, dict) and "type_vocab_size" in text
    return roberta or (config.get("model_type") in ("open_clip", "chinese_clip", "clip") and "vision_layers" in config)
