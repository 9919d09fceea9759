"""A checkpoint with its data, small enough to export in a second, whose recall is high: there is something to lose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import pixel_values
from conaclip_edge.models.student.checkpoint import save_student
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.tokenizer import TextTokenizer
from tests.helpers.small_students import CONTEXT, EOS, VOCAB, student

SPECIAL = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": EOS}
WORDS = [f"w{index}" for index in range(VOCAB) if index not in SPECIAL.values()]
COUNTS = {"train": 322, "val": 22, "test": 8}


def tokenizer_json() -> str:
    """A tokenizer of whole words that knows the special tokens when it sees them in a text."""
    ids = SPECIAL | {word: int(word[1:]) for word in WORDS}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(SPECIAL))
    ends = [(name, SPECIAL[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer.to_str()


def write_pictures(folder: Path) -> Path:
    """Write an imagefolder of bars in many colours, each with captions of its own."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(3)
    lines = []
    for split, count in COUNTS.items():
        for number in range(count):
            pixels = np.empty((32, 40, 3), dtype=np.uint8)
            pixels[:] = random.integers(0, 256, 3)
            for _ in range(3):
                left, top = random.integers(0, 30), random.integers(0, 22)
                pixels[top : top + 10, left : left + 10] = random.integers(0, 256, 3)
            name = f"{split}-{number}.png"
            Image.fromarray(pixels).save(folder / name)
            captions = [" ".join(random.choice(WORDS, random.integers(3, 8))) for _ in range(1 + number % 2)]
            lines.append(json.dumps({"file_name": name, "captions": captions, "split": split}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def write_checkpoint(folder: Path, data: Path) -> Path:
    """Write a student with random towers whose two projections were fitted to the val pairs of the data."""
    model = student("mobile", eos=EOS)
    for module in model.image.modules():
        if isinstance(module, torch.nn.Conv2d):  # torch's own initial values let all pictures fade into one
            torch.nn.init.kaiming_normal_(module.weight)
    content = tokenizer_json()
    file = folder.with_name("tokenizer.json")
    file.write_text(content, "utf-8")
    config = DataConfig(format="imagefolder", path=data)
    fit(model, read_pairs(config), TextTokenizer(file, CONTEXT))
    training = {
        "recipe": {"name": "bars", "data": config.model_dump(mode="json")},
        "graph": [{"edge": "SI-ST", "loss": "infonce"}],
        "data": {"name": "bars", "licence": "Bars: CC0.", "train_pictures": COUNTS["train"]},
        "teacher": {"name": "a teacher of bars"},
        "parameters": {"image": 1234, "text": 5678},
    }
    save_student(model, json.loads(content), training, folder)
    return folder


@torch.no_grad()
def fit(model: DualEncoder, pairs: Pairs, tokenizer: TextTokenizer) -> None:
    """Fit both projections to one random target a picture, by ridge regression on the features before them."""
    features: dict[str, list[torch.Tensor]] = {"image": [], "text": []}
    layers = {"image": model.image.projection, "text": model.text.clip.text_projection}
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: features[name].append(inputs[0]))
        for name, layer in layers.items()
    ]
    rows = pairs.rows("val").tolist()
    goals = torch.randn(len(rows), model.config.embed_dim, generator=torch.Generator().manual_seed(1))
    wanted: dict[str, list[torch.Tensor]] = {"image": [], "text": []}
    for place, row in enumerate(rows):
        model.image(torch.from_numpy(pixel_values(pairs.read(row), model.config.image.size))[None])
        wanted["image"].append(goals[place])
        for caption in pairs.captions[row]:
            model.text(torch.tensor([tokenizer.ids(caption)]))
            wanted["text"].append(goals[place])
    for hook in hooks:
        hook.remove()
    for name, layer in layers.items():
        inputs, outputs = torch.cat(features[name]).double(), torch.stack(wanted[name]).double()
        power = inputs.T @ inputs
        ridge = 0.01 * power.diagonal().mean() * torch.eye(len(power), dtype=power.dtype)
        layer.weight.copy_(torch.linalg.solve(power + ridge, inputs.T @ outputs).T.float())
