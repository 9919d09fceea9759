"""Folders in EasyNLP's three layouts with random weights, and what the original models make of pictures and texts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from tests.helpers.models.tiny_tokenizers import clip_json, write_bert_vocab

WIDTH, SIDE, PATCH, DIM, CONTEXT, MERGES = 128, 32, 8, 24, 32, 600

VOCABULARY = {"open_clip": 512 + MERGES + 2, "chinese_clip": 400, "clip": 400}
FLAT = {
    "embed_dim": DIM,
    "image_resolution": SIDE,
    "vision_layers": 2,
    "vision_width": WIDTH,
    "vision_patch_size": PATCH,
}
TEXT = {
    "open_clip": {
        "context_length": CONTEXT,
        "transformer_width": 48,
        "transformer_heads": 3,
        "transformer_layers": 2,
    },
    "chinese_clip": {
        "text_attention_probs_dropout_prob": 0.1,
        "text_hidden_act": "gelu",
        "text_hidden_dropout_prob": 0.1,
        "text_hidden_size": 32,
        "text_initializer_range": 0.02,
        "text_intermediate_size": 40,
        "text_max_position_embeddings": CONTEXT,
        "text_num_attention_heads": 4,
        "text_num_hidden_layers": 2,
        "text_type_vocab_size": 2,
    },
}
ROBERTA = {
    "vocab_size": VOCABULARY["clip"],
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT + 1,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
VIT = {
    "hidden_size": 48,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": SIDE,
    "patch_size": PATCH,
}
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


class Layer(nn.Module):
    """A transformer layer of OpenAI's CLIP by torch's own attention, which has its names and its joint q, k and v."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        normal = self.ln_1(x)
        x = x + self.attn(normal, normal, normal, need_weights=False, attn_mask=mask)[0]
        inner = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](inner * torch.sigmoid(1.702 * inner))


def layers(width: int, heads: int) -> nn.ModuleDict:
    return nn.ModuleDict({"resblocks": nn.ModuleList([Layer(width, heads) for _ in range(2)])})


def randomize(model: nn.Module) -> None:
    """Draw all weights, norms' too so that none is the identity, large enough to tell texts apart."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(float(parameter.ndim == 1 and name.endswith("weight")), 0.4)
    model.eval()


class Original(nn.Module):
    """What a checkpoint with a flat config computes, written for this test: its state_dict has EasyNLP's layout."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.visual = nn.Module()
        self.visual.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.visual.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.visual.positional_embedding = nn.Parameter(torch.randn((SIDE // PATCH) ** 2 + 1, WIDTH))
        self.visual.ln_pre, self.visual.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.visual.transformer = layers(WIDTH, WIDTH // 64)
        self.visual.proj = nn.Parameter(torch.randn(WIDTH, DIM))
        if kind == "open_clip":
            self.token_embedding = nn.Embedding(VOCABULARY[kind], 48)
            self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, 48))
            self.transformer = layers(48, 3)
            self.ln_final = nn.LayerNorm(48)
            self.text_projection = nn.Parameter(torch.randn(48, DIM))
        else:
            own = {key.removeprefix("text_"): value for key, value in TEXT[kind].items()}
            self.bert = transformers.BertModel(transformers.BertConfig(vocab_size=VOCABULARY[kind], **own))
            self.text_projection = nn.Parameter(torch.randn(32, DIM))
        self.logit_scale = nn.Parameter(torch.tensor(2.5))
        randomize(self)

    @torch.no_grad()
    def embed_pictures(self, pixels: Tensor) -> Tensor:
        x = self.visual.conv1(pixels).flatten(2).mT
        x = torch.cat([self.visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.visual.positional_embedding
        x = self.visual.ln_pre(x)
        for layer in self.visual.transformer["resblocks"]:
            x = layer(x)
        return F.normalize(self.visual.ln_post(x[:, 0]) @ self.visual.proj, dim=-1)

    @torch.no_grad()
    def embed_ids(self, ids: list[int]) -> Tensor:
        """Embed one text, padded with 0 to the context as EasyNLP does."""
        padded = torch.tensor([ids + [0] * (CONTEXT - len(ids))])
        if self.kind == "chinese_clip":
            hidden = self.bert(padded, attention_mask=padded.ne(0).float()).last_hidden_state
            return F.normalize(hidden[:, 0] @ self.text_projection, dim=-1)
        x = self.token_embedding(padded) + self.positional_embedding
        for layer in self.transformer["resblocks"]:
            x = layer(x, torch.full((CONTEXT, CONTEXT), -torch.inf).triu(1))
        return F.normalize(self.ln_final(x)[:, padded[0].argmax()] @ self.text_projection, dim=-1)


class OriginalRoberta(nn.Module):
    """What a checkpoint of kind `clip` computes: two models of transformers under EasyNLP's names, and projections."""

    def __init__(self) -> None:
        super().__init__()
        self.text_encoder = transformers.RobertaModel(transformers.RobertaConfig(**ROBERTA))
        self.vision_encoder = nn.Module()
        self.vision_encoder.vision_model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VIT))
        self.text_projection, self.vision_projection = nn.Linear(32, DIM), nn.Linear(48, DIM)
        self.logit_scale = nn.Parameter(torch.tensor([2.5]))
        randomize(self)

    @torch.no_grad()
    def embed_pictures(self, pixels: Tensor) -> Tensor:
        pooled = self.vision_encoder.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.vision_projection(pooled), dim=-1)

    @torch.no_grad()
    def embed_ids(self, ids: list[int]) -> Tensor:
        padded = torch.tensor([ids + [0] * (CONTEXT - len(ids))])
        pooled = self.text_encoder(padded, attention_mask=padded.ne(0).float()).pooler_output
        return F.normalize(self.text_projection(pooled), dim=-1)


def write_folder(folder: Path, kind: str, half: bool = False, prefix: str = "") -> Original | OriginalRoberta:
    """Write a checkpoint as EasyNLP does."""
    torch.manual_seed(1)
    original = OriginalRoberta() if kind == "clip" else Original(kind)
    if half:
        original.load_state_dict({name: value.half() for name, value in original.state_dict().items()})
    folder.mkdir()
    if kind == "clip":
        config: dict[str, Any] = {"text_config": ROBERTA | {"top_k": 50}, "vision_config": VIT, "projection_dim": 512}
    else:
        config = FLAT | TEXT[kind] | {"vocab_size": VOCABULARY[kind]}
    config["model_type"] = kind
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    state = {prefix + name: value.half() if half else value for name, value in original.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin")
    if kind == "open_clip":
        merges = json.loads(clip_json(MERGES))["model"]["merges"]
        lines = ["a first line", *(" ".join(merge) for merge in merges), "", ""]
        (folder / "vocab.txt").write_bytes(gzip.compress("\n".join(lines).encode()))
    else:
        write_bert_vocab(folder)
    return original


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save(change(state), folder / "pytorch_model.bin")


def without(*names: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {name: value for name, value in state.items() if name not in names}
