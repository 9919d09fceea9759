"""Checkpoints in OpenCLIP's layouts with small random towers, and what OpenCLIP itself makes of texts and pictures.

The gate has no OpenCLIP: its torchvision has to be of the build of PyTorch that is there. So the plain ViTs lie beside
this file with their embeddings, which `python -m tests.helpers.models.openclip_layouts --write` made. Without the
option it compares every layout, those that OpenCLIP builds too, and prints the largest difference of each.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers
from safetensors.torch import save_file

from conaclip_edge.models.clip_merges import read_merges
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.system.extras import package_folder
from tests.helpers.models.openclip_plain import CONTEXT, EXPECTED, PLAIN_FOLDER, TEXTS
from tests.helpers.models.tiny_teachers import LAYERS, gemma_tokenizer, pictures
from tests.helpers.models.tiny_tokenizers import write_bert_vocab

DIM, SIDE, MERGES = 24, 32, 600
PIECES = 49408  # of CLIP's vocabulary
VIT = {"image_size": SIDE, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8}
FEW = {"context_length": CONTEXT, "vocab_size": 512 + MERGES + 2, "width": 16, "heads": 2, "layers": 2}
TEXT = FEW | {"vocab_size": PIECES, "width": 32}
NAMED = {"hf_tokenizer_name": "lab/tokenizer", "vocab_size": 400}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}


def timm(name: str, pool: str, proj: str | None = None) -> dict[str, Any]:
    """An image tower of timm, as MobileCLIP's, SigLIP's and the ConvNeXts' configs name it."""
    return {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": SIDE}


def openclip_folder(
    folder: Path, preprocess: dict[str, Any] | None = None, dtype: torch.dtype = torch.float32, **model: Any
) -> None:
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
    weights = {name: value.to(dtype).contiguous().clone() for name, value in made.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def _named_tokenizer(folder: Path, text: dict[str, Any]) -> None:
    if text.get("tokenizer_kwargs", {}).get("clean"):
        gemma_tokenizer(transformers.GemmaTokenizer, lower=False).save_pretrained(folder)
        return
    write_bert_vocab(folder)
    transformers.BertTokenizer.from_pretrained(folder).save_pretrained(folder)


# Those that transformers' CLIP has too, with the first of CLIP's merges
PLAIN: dict[str, dict[str, Any]] = {
    "vit": {},
    "quickgelu": {"quick_gelu": True},
    "text-apart": {"custom_text": True, "preprocess": HALF | {"resize_mode": "squash", "interpolation": "bilinear"}},
}


# Those that OpenCLIP builds
def mobileclip(tower: str, pool: str = "avg") -> Callable[[Path], None]:
    """A MobileCLIP with its own image tower and a small text tower without a causal mask."""
    return lambda folder: openclip_folder(
        folder,
        {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
        vision_cfg=timm(tower, pool) | {"image_size": 224 if pool == "token" else 64},
        text_cfg=TEXT | {"no_causal_mask": True},
        custom_text=True,
    )


BUILT: dict[str, Callable[[Path], None]] = {
    "MobileCLIP2-S0": mobileclip("fastvit_mci0"),
    "MobileCLIP-S1": mobileclip("fastvit_mci1"),
    "MobileCLIP-S2": mobileclip("fastvit_mci2"),
    "MobileCLIP-B": mobileclip("vit_base_mci_224", "token"),
    "CLIPA": lambda folder: openclip_folder(
        folder,
        vision_cfg=VIT | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        text_cfg=FEW
        | NAMED
        | {"pool_type": "last", "no_causal_mask": True, "tokenizer_kwargs": {"strip_sep_token": True}},
    ),
    "CoCa": lambda folder: openclip_folder(
        folder,
        vision_cfg=VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        text_cfg=TEXT | {"embed_cls": True, "output_tokens": True, "width": 24},
        multimodal_cfg={"context_length": CONTEXT, "vocab_size": PIECES, "width": 24, "heads": 2, "layers": 1},
        custom_text=True,
    ),
    "ConvNeXt": lambda folder: openclip_folder(folder, vision_cfg=timm("test_convnext", "", "linear")),
    "SigLIP 2": lambda folder: openclip_folder(
        folder,
        HALF | {"resize_mode": "squash"},
        vision_cfg=timm("test_vit", "map", "none") | {"image_size": 160},
        text_cfg=FEW
        | NAMED
        | {"width": 64, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
        | {"tokenizer_kwargs": {"clean": "canonicalize"}, "norm_kwargs": {"eps": 1e-6}},
        embed_dim=64,
        init_logit_bias=-10,
        custom_text=True,
    ),
    "MetaCLIP 2": lambda folder: openclip_folder(folder, text_cfg=FEW | NAMED | {"pool_type": "eos", "eos_id": 3}),
    "BERT as text tower": lambda folder: openclip_folder(
        folder,
        text_cfg=NAMED | {"hf_model_name": "lab/bert", "hf_pooler_type": "mean_pooler", "context_length": CONTEXT},
    ),
    "ResNet": lambda folder: openclip_folder(
        folder, vision_cfg={"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}
    ),
}


@torch.no_grad()
def of_openclip(folder: Path, tokenizer: Any) -> dict[str, torch.Tensor]:
    """What OpenCLIP makes of the texts and the pictures."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model.eval()
    shown = torch.stack([preprocess(picture) for picture in pictures()])
    return {
        "texts": model.encode_text(tokenizer(TEXTS), normalize=True),
        "pictures": model.encode_image(shown, normalize=True),
    }


def write_plain(folder: Path) -> None:
    """Write the plain ViTs in float16, each with CLIP's tokenizer of few merges, and OpenCLIP's embeddings."""
    merges = package_folder("open_clip") / "bpe_simple_vocab_16e6.txt.gz"
    for name, model in PLAIN.items():
        torch.manual_seed(0)
        openclip_folder(folder / name, text_cfg=FEW, dtype=torch.float16, **model)
        vocab, pairs = read_merges(merges, FEW["vocab_size"])
        transformers.CLIPTokenizer(vocab, pairs).save_pretrained(folder / name)
        with tempfile.TemporaryDirectory() as few:
            lines = gzip.decompress(merges.read_bytes()).decode().split("\n")[: 1 + MERGES]
            file = Path(few) / "merges.txt.gz"
            file.write_bytes(gzip.compress("\n".join(lines).encode()))
            tokenizer = open_clip.SimpleTokenizer(str(file), context_length=CONTEXT)
        save_file(of_openclip(folder / name, tokenizer), folder / name / EXPECTED)


def compare(folder: Path) -> dict[str, float]:
    """Return the largest difference of a teacher's embeddings from OpenCLIP's, by layout."""
    found = {}
    for name, write in BUILT.items():
        torch.manual_seed(0)
        write(folder / name)
        expected = of_openclip(folder / name, open_clip.get_tokenizer(f"local-dir:{folder / name}"))
        teacher = load_teacher(str(folder / name))
        own = {"texts": teacher.embed_texts(TEXTS), "pictures": teacher.embed_pictures(pictures())}
        found[name] = max(float((own[part] - expected[part]).abs().max()) for part in expected)
    return found


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--write", action="store_true")
    if options.parse_args().write:
        write_plain(PLAIN_FOLDER)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"open_clip": open_clip.__version__, "largest difference": compare(Path(folder))}, indent=2))


if __name__ == "__main__":
    main()
