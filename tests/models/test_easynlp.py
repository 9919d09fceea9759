"""A folder in EasyNLP's layout becomes a teacher with the same embeddings; what is no such folder is told."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tiny_tokenizers import write_bert_vocab
from torch import nn
from torch.nn import functional as F

from conaclip_edge.errors import UserError
from conaclip_edge.models.easynlp import convert_easynlp
from conaclip_edge.models.teacher import load_teacher

WIDTH, LAYERS, PATCH, SIZE, DIM, TEXT = 64, 2, 8, 32, 24, 32
CONFIG = {
    "model_type": "chinese_clip",
    "embed_dim": DIM,
    "image_resolution": SIZE,
    "vision_layers": LAYERS,
    "vision_width": WIDTH,
    "vision_patch_size": PATCH,
    "vocab_size": 400,
    "text_attention_probs_dropout_prob": 0.1,
    "text_hidden_act": "gelu",
    "text_hidden_dropout_prob": 0.1,
    "text_hidden_size": TEXT,
    "text_initializer_range": 0.02,
    "text_intermediate_size": 48,
    "text_max_position_embeddings": 64,
    "text_num_attention_heads": 4,
    "text_num_hidden_layers": 2,
    "text_type_vocab_size": 2,
}


def bert() -> nn.Module:
    torch.manual_seed(1)
    names = ("hidden_act", "hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads")
    values = {name: CONFIG[f"text_{name}"] for name in (*names, "num_hidden_layers", "type_vocab_size")}
    return transformers.BertModel(transformers.BertConfig(vocab_size=400, **values)).eval()


def vision_weights() -> dict[str, torch.Tensor]:
    """Random weights of a picture tower under the names that OpenAI's CLIP has."""
    random = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(*shape, generator=random)

    weights = {
        "class_embedding": normal(WIDTH),
        "conv1.weight": normal(WIDTH, 3, PATCH, PATCH),
        "positional_embedding": normal((SIZE // PATCH) ** 2 + 1, WIDTH),
        "proj": normal(WIDTH, DIM),
    }
    for name in ("ln_pre", "ln_post", *(f"transformer.resblocks.{n}.ln_{i}" for n in range(LAYERS) for i in (1, 2))):
        weights |= {f"{name}.weight": 1 + normal(WIDTH), f"{name}.bias": normal(WIDTH)}
    for number in range(LAYERS):
        block = f"transformer.resblocks.{number}."
        for name, (to, of) in {
            "attn.in_proj_": (3 * WIDTH, WIDTH),
            "attn.out_proj.": (WIDTH, WIDTH),
            "mlp.c_fc.": (4 * WIDTH, WIDTH),
            "mlp.c_proj.": (WIDTH, 4 * WIDTH),
        }.items():
            weights |= {f"{block}{name}weight": normal(to, of), f"{block}{name}bias": normal(to)}
    return weights


def see(weights: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """Run the picture tower by hand, in float64."""
    weights = {name: value.double() for name, value in weights.items()}

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}weight"].T + weights[f"{name}bias"]

    x = F.conv2d(pixels.double(), weights["conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([weights["class_embedding"].expand(len(x), 1, -1), x], 1) + weights["positional_embedding"]
    x = norm(x, "ln_pre")
    for number in range(LAYERS):
        block = f"transformer.resblocks.{number}."
        q, k, v = linear(norm(x, f"{block}ln_1"), f"{block}attn.in_proj_").chunk(3, -1)  # one head of 64
        mixed = (q @ k.transpose(1, 2) / math.sqrt(WIDTH)).softmax(-1) @ v
        x = x + linear(mixed, f"{block}attn.out_proj.")
        hidden = linear(norm(x, f"{block}ln_2"), f"{block}mlp.c_fc.")
        x = x + linear(hidden * torch.sigmoid(1.702 * hidden), f"{block}mlp.c_proj.")
    return F.normalize(norm(x[:, 0], "ln_post") @ weights["proj"], dim=-1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as EasyNLP writes it."""
    home = tmp_path / "easynlp"
    write_bert_vocab(home)
    (home / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    torch.save(weights(), home / "pytorch_model.bin")
    return home


def weights() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    named = {f"visual.{name}": value for name, value in vision_weights().items()}
    named |= {f"bert.{name}": value for name, value in bert().state_dict().items()}
    named |= {
        "bert.embeddings.position_ids": torch.arange(64)[None],
        "text_projection": torch.randn(TEXT, DIM, generator=random),
        "logit_scale": torch.tensor(3.0),
    }
    return {f"chinese_clip.{name}": value for name, value in named.items()}


def test_pictures_and_texts_become_what_the_original_makes_of_them(folder: Path, tmp_path: Path) -> None:
    done = convert_easynlp(folder, tmp_path / "teacher")
    teacher = load_teacher(str(tmp_path / "teacher"))
    assert done["embed_dim"] == teacher.embed_dim == DIM
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    given = torch.from_numpy(((pixels / 255 - mean) / std).transpose(2, 0, 1))[None]
    found = teacher.embed_pictures([Image.fromarray(pixels)]).double()
    assert torch.allclose(found, see(vision_weights(), given), atol=1e-5)
    texts = ["the cat", "a 猫 and a dog"]
    tokens = transformers.BertTokenizer(str(folder / "vocab.txt"))(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        first = bert()(**tokens).last_hidden_state[:, 0]
    wanted = F.normalize(first @ weights()["chinese_clip.text_projection"], dim=-1)
    assert torch.allclose(teacher.embed_texts(texts), wanted, atol=1e-5)


def test_a_picture_of_another_shape_is_scaled_to_the_square(folder: Path, tmp_path: Path) -> None:
    convert_easynlp(folder, tmp_path / "teacher")
    teacher = load_teacher(str(tmp_path / "teacher"))
    wide = Image.effect_noise((90, 30), 80).convert("RGB")
    square = wide.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    assert torch.allclose(teacher.embed_pictures([wide]), teacher.embed_pictures([square]), atol=1e-4)


class Runs:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda all_: all_ | {"x": Runs()}, "hold more than tensors, or are damaged, and are refused"),
        (lambda all_: {"state": all_}, "are no dictionary of tensors"),
        (lambda all_: dict(list(all_.items())[1:]), "1 tensors are missing: vision_model.embeddings.class_embedding"),
        (lambda all_: all_ | {"chinese_clip.visual.more": torch.zeros(1)}, "1 tensors are unknown: vision_model.more"),
        (
            lambda all_: all_ | {"chinese_clip.text_projection": torch.zeros(3, DIM)},
            "1 tensors are of another shape than config.json says: text_projection.weight",
        ),
    ],
    ids=["pickle", "nested", "missing", "unknown", "shape"],
)
def test_weights_that_do_not_fit_are_told(folder, tmp_path, monkeypatch, change, message) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(change(weights()), folder / "pytorch_model.bin")
    with pytest.raises(UserError) as caught:
        convert_easynlp(folder, Path("teacher"))
    assert message in str(caught.value)
    assert not Path("teacher").exists()
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "open_clip"}, "has model_type 'open_clip'; 'chinese_clip' is converted"),
        ([], "has model_type 'None'"),
        (CONFIG | {"vision_layers": [3, 4, 6, 3]}, "'vision_layers': Input should be a valid integer"),
        ({name: value for name, value in CONFIG.items() if name != "embed_dim"}, "'embed_dim': Field required"),
    ],
)
def test_a_config_that_is_another_s_is_told(folder, tmp_path, values, message) -> None:
    (folder / "config.json").write_text(json.dumps(values), "utf-8")
    with pytest.raises(UserError) as caught:
        convert_easynlp(folder, tmp_path / "teacher")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "pytorch_model.bin", "vocab.txt"])
def test_a_missing_file_is_told(folder, tmp_path, name) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"no (EasyNLP config|weights|vocabulary) at .*{name}"):
        convert_easynlp(folder, tmp_path / "teacher")
