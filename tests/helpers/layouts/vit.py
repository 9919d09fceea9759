"""A student with a small vision transformer and a vocabulary built as CLIP's, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from conaclip_edge.config.model import ModelConfig, TextTowerConfig
from conaclip_edge.models.student.checkpoint import save_student
from conaclip_edge.models.student.dual_encoder import DualEncoder
from tests.helpers.models.tiny_tokenizers import clip_json
from tests.helpers.small_students import VIT


def write_vit(folder: Path) -> Path:
    """Write such a checkpoint; returns its folder."""
    tokenizer = json.loads(clip_json())
    vocab = tokenizer["model"]["vocab"]
    ends = {"eos_id": vocab["<|endoftext|>"], "pad_id": vocab["<|endoftext|>"]}
    text = TextTowerConfig(width=32, layers=2, heads=2, mlp=64, context=16, vocab_size=len(vocab), **ends)
    torch.manual_seed(0)
    save_student(DualEncoder(ModelConfig(image=VIT, text=text, embed_dim=16)).eval(), tokenizer, {}, folder)
    return folder
