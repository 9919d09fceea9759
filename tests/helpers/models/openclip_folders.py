"""Folders in OpenCLIP's layouts with small random towers, made by OpenCLIP itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers
from safetensors.torch import save_file

from conaclip_edge.models.clip_merges import read_merges
from conaclip_edge.system.extras import package_folder
from tests.helpers.models.tiny_teachers import LAYERS, gemma_tokenizer
from tests.helpers.models.tiny_tokenizers import write_bert_vocab

CONTEXT, DIM, SIDE = 16, 24, 32
PIECES = 49408  # of CLIP's vocabulary, which OpenCLIP's own tokenizer always has
VIT = {"image_size": SIDE, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
TEXT = {"context_length": CONTEXT, "vocab_size": PIECES, "width": 32, "heads": 2, "layers": 2}
NAMED = {"hf_tokenizer_name": "lab/tokenizer", "vocab_size": 400}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}


def timm(name: str, pool: str, proj: str | None = None) -> dict[str, Any]:
    """An image tower of timm, as MobileCLIP's, SigLIP's and the ConvNeXts' configs name it."""
    return {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": SIDE}


def openclip_folder(folder: Path, preprocess: dict[str, Any] | None = None, **model: Any) -> None:
    """Write a checkpoint: model_cfg as given, and random weights under the names that OpenCLIP gives them."""
    folder.mkdir(parents=True)
    config = {"embed_dim": DIM, "vision_cfg": VIT, "text_cfg": TEXT} | model
    text = config["text_cfg"]
    if text.get("hf_tokenizer_name"):
        _named_tokenizer(folder, text)
    if text.get("hf_model_name"):
        transformers.BertConfig(**LAYERS, vocab_size=400, max_position_embeddings=CONTEXT).save_pretrained(folder)
        config = config | {"text_cfg": text | {"hf_model_name": str(folder)}}
    content = {"model_cfg": config, "preprocess_cfg": preprocess or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(content), "utf-8")
    made = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False)
    with torch.no_grad():
        for parameter in made.parameters():  # the initial values are too small to tell one text from another
            if parameter.ndim > 1:
                parameter.mul_(3)
    weights = {name: value.contiguous().clone() for name, value in made.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def _named_tokenizer(folder: Path, text: dict[str, Any]) -> None:
    if text.get("tokenizer_kwargs", {}).get("clean"):
        gemma_tokenizer(transformers.GemmaTokenizer, lower=False).save_pretrained(folder)
        return
    write_bert_vocab(folder)
    transformers.BertTokenizer.from_pretrained(folder).save_pretrained(folder)


def write_clip_tokenizer(folder: Path) -> None:
    """Put CLIP's tokenizer.json beside the weights, as folders of the hub have it."""
    vocab, merges = read_merges(package_folder("open_clip") / "bpe_simple_vocab_16e6.txt.gz", PIECES)
    transformers.CLIPTokenizer(vocab, merges).save_pretrained(folder)


# Those that transformers' CLIP has too
PLAIN: dict[str, Callable[[Path], None]] = {
    "ViT": openclip_folder,
    "ViT with QuickGELU": lambda folder: openclip_folder(folder, quick_gelu=True),
    "ViT squashed, its text tower apart": lambda folder: openclip_folder(
        folder, HALF | {"resize_mode": "squash", "interpolation": "bilinear"}, custom_text=True
    ),
}
# Those that OpenCLIP builds
BUILT: dict[str, Callable[[Path], None]] = {
    "MobileCLIP2-S0": lambda folder: openclip_folder(
        folder,
        {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
        vision_cfg=timm("fastvit_mci0", "avg") | {"image_size": 64},
        text_cfg=TEXT | {"no_causal_mask": True},
        custom_text=True,
    ),
    "ConvNeXt": lambda folder: openclip_folder(folder, vision_cfg=timm("test_convnext", "", "linear")),
    "SigLIP 2": lambda folder: openclip_folder(
        folder,
        HALF | {"resize_mode": "squash"},
        vision_cfg=timm("test_vit", "map", "none") | {"image_size": 160},
        text_cfg=TEXT
        | NAMED
        | {"width": 64, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
        | {"tokenizer_kwargs": {"clean": "canonicalize"}, "norm_kwargs": {"eps": 1e-6}},
        embed_dim=64,
        init_logit_bias=-10,
        custom_text=True,
    ),
    "MetaCLIP 2": lambda folder: openclip_folder(folder, text_cfg=TEXT | NAMED | {"pool_type": "eos", "eos_id": 3}),
    "BERT as text tower": lambda folder: openclip_folder(
        folder,
        text_cfg=NAMED | {"hf_model_name": "lab/bert", "hf_pooler_type": "mean_pooler", "context_length": CONTEXT},
    ),
    "ResNet": lambda folder: openclip_folder(
        folder, vision_cfg={"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}
    ),
}
