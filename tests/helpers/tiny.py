"""A data set and a teacher that are small enough to distil from in seconds, as folders a user would have."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image, ImageDraw

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 40), "blue": (40, 60, 220), "black": (10, 10, 10)}
SHAPES = ("disc", "box", "bar", "cross")
PLACES = ("left", "right", "middle")
SPLITS = ("train", "train", "val", "train", "test")
# every size that makes a step cheap; the same in all tests, so that caches can be shared
STUDENT = {
    "preset": "vit-s16-text2l",
    "image": {"size": 32, "patch": 16, "width": 32, "layers": 1, "heads": 2, "mlp": 32},
    "text": {"width": 32, "layers": 1, "heads": 2, "mlp": 32, "context": 24},
}


def drawing(colour: str, shape: str, place: str) -> Image.Image:
    """A coloured shape on white, 48 x 32."""
    picture = Image.new("RGB", (48, 32), "white")
    draw, x = ImageDraw.Draw(picture), {"left": 2, "middle": 14, "right": 26}[place]
    ink = COLOURS[colour]
    if shape == "disc":
        draw.ellipse((x, 6, x + 19, 25), fill=ink)
    elif shape == "box":
        draw.rectangle((x, 6, x + 19, 25), fill=ink)
    elif shape == "bar":
        draw.rectangle((x + 7, 2, x + 12, 29), fill=ink)
    else:
        draw.line((x, 6, x + 19, 25), fill=ink, width=4)
        draw.line((x, 25, x + 19, 6), fill=ink, width=4)
    return picture


def image_folder(folder: Path, splits: Sequence[str] = SPLITS, captions: int = 2) -> Path:
    """Write the imagefolder of all 48 drawings, dealt to the splits in turn."""
    folder.mkdir(parents=True)
    lines = []
    for number, (colour, shape, place) in enumerate(itertools.product(COLOURS, SHAPES, PLACES)):
        name = f"{colour}-{shape}-{place}.png"
        drawing(colour, shape, place).save(folder / name)
        texts = [f"{colour} {shape} {place}", f"a {shape} in {colour}, {place}"][:captions]
        lines.append(json.dumps({"file_name": name, "captions": texts, "split": splits[number % len(splits)]}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def teacher_folder(folder: Path, dim: int = 16, seed: int = 0) -> Path:
    """Write a CLIP with random weights whose tokenizer knows single bytes."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    end = len(pieces) - 1
    layers = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    text = {**layers, **ids, "vocab_size": len(pieces), "max_position_embeddings": 24}
    vision = {**layers, "image_size": 32, "patch_size": 16}
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=dim))
    with torch.no_grad():
        for parameter in model.parameters():  # the initial values are too small to tell one text from another
            if parameter.ndim > 1:
                parameter.mul_(4)
    model.save_pretrained(folder)
    CLIPTokenizer({piece: index for index, piece in enumerate(pieces)}, []).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square).save_pretrained(folder)
    return folder


def recipe(data: Path, teacher: Path, cache: Path, **train: Any) -> dict[str, Any]:
    """Keys of a recipe that takes about a second."""
    budget = {"steps": 12, "batch_size": 12, "lr": 0.003, "eval_every": 5, "threads": 1}
    return {
        "name": "tiny",
        "data": {"format": "imagefolder", "path": str(data)},
        "teacher": str(teacher),
        "student": STUDENT,
        "train": budget | train,
        "cache": str(cache),
    }


def write_recipe(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values), "utf-8")
    return path


class PixelTeacher:
    """Stands in for a teacher where only the cache is tested: tells pictures by colour, texts by length."""

    def __init__(self, fingerprint: str = "pixel/1", dim: int = 4):
        self.name, self.embed_dim, self.fingerprint = "pixel", dim, fingerprint
        self.answers, self.device = fingerprint, torch.device("cpu")
        self.seen: list[np.ndarray] = []
        self.texts_seen = 0

    def pixels(self, pictures: list[Image.Image]) -> torch.Tensor:
        """Return the mean colour and brightness of pictures [n, 4]."""
        self.seen += [np.asarray(picture) for picture in pictures]
        means = [[*np.asarray(picture).mean(axis=(0, 1)), 128.0] for picture in pictures]
        return torch.tensor(means, dtype=torch.float32)

    def embed_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise what `pixels` gives [n, 4]."""
        return torch.nn.functional.normalize(pixels, dim=-1)

    def embed_pictures(self, pictures: list[Image.Image]) -> torch.Tensor:
        """Return unit vectors of pictures [n, 4]."""
        return self.embed_pixels(self.pixels(pictures))

    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        """Return unit vectors that tell texts of other lengths apart [n, 4]."""
        self.texts_seen += len(texts)
        angles = torch.tensor([float(len(text)) for text in texts])[:, None] * torch.arange(1, 5)
        return torch.nn.functional.normalize(angles.cos(), dim=-1)
