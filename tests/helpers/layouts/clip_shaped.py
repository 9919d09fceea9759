"""A student of CLIP's vocabulary, context and picture size with random towers, for clients that have these built in."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.model import ImageTowerConfig, ModelConfig, TextTowerConfig
from conaclip_edge.models.student.checkpoint import save_student
from conaclip_edge.models.student.dual_encoder import DualEncoder
from tests.helpers.bar_pictures import write_pictures
from tests.helpers.models.tiny_tokenizers import clip_json

PIECES = 49408


def tokenizer_json() -> str:
    """The small tokenizer built as CLIP's, filled up so that its ends have CLIP's ids, 49406 and 49407."""
    content = json.loads(clip_json())
    vocab = content["model"]["vocab"]
    ends = ("<|startoftext|>", "<|endoftext|>")
    for name in ends:
        del vocab[name]
    vocab |= {f"filler {number}": number for number in range(len(vocab), PIECES - 2)}
    ids = dict(zip(ends, (PIECES - 2, PIECES - 1), strict=True))
    content["model"]["vocab"] = vocab | ids
    for token in content["added_tokens"]:
        token["id"] = ids[token["content"]]
    post = content["post_processor"]
    post["sep"], post["cls"] = ([name, ids[name]] for name in reversed(ends))
    return json.dumps(content)


def write_student(home: Path, size: int = 224) -> Path:
    """Write such a checkpoint of pictures of a size, and its data, into a folder; returns the checkpoint."""
    torch.manual_seed(0)
    stages = ((1, 8, 1, 3, 4), (1, 16, 1, 3, 4))
    image = ImageTowerConfig(kind="mobile", size=size, width=4, stages=stages, head_width=24)
    text = TextTowerConfig(width=16, layers=1, heads=2, mlp=32)  # int8 spoils the texts of narrower ones
    model = DualEncoder(ModelConfig(image=image, text=text, embed_dim=16)).eval()
    for module in model.image.modules():
        if isinstance(module, torch.nn.Conv2d):  # torch's own initial values let all pictures fade into one
            torch.nn.init.kaiming_normal_(module.weight)
    data = DataConfig(format="imagefolder", path=write_pictures(home / "data"))
    recipe = {"name": "clip-shaped", "data": data.model_dump(mode="json")}
    save_student(model, json.loads(tokenizer_json()), {"recipe": recipe}, home / "student")
    return home / "student"
