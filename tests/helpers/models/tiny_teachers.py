"""Small random checkpoints of every family of dual encoders, written as folders with tokenizer and image processor."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, trainers

from tests.helpers.models.tiny_tokenizers import CAPTIONS, clip_json, english_words, unigram_json, write_bert_vocab

LAYERS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
PICTURE = {**LAYERS, "image_size": 32, "patch_size": 8}
SQUARE = {"height": 32, "width": 32}
CONTEXT = 16


def pictures() -> list[Image.Image]:
    """Smooth pictures with sharp edges, of several shapes."""
    random = np.random.default_rng(0)
    made = []
    for width, height in ((64, 48), (33, 100), (40, 40), (150, 31)):
        coarse = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
        picture.paste((250, 20, 20), (width // 3, height // 3, width // 2, height // 2))
        made.append(picture)
    return made


def save(folder: Path, model: Any, tokenizer: Any, image_processor: Any) -> None:
    """Write a random model with its tokenizer and image processor."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for parameter in model.parameters():  # the initial values are too small to tell one text from another
            if parameter.ndim > 1:
                parameter.mul_(4)
    for part in (model, tokenizer, image_processor):
        part.save_pretrained(folder)


def clip_model(
    eos_token_id: int | None, own_text: dict[str, Any] | None = None, own_picture: dict[str, Any] | None = None
) -> Any:
    vocab = json.loads(clip_json())["model"]["vocab"]
    end = len(vocab) - 1
    text = {**LAYERS, "vocab_size": len(vocab), "max_position_embeddings": CONTEXT}
    text |= {"bos_token_id": end - 1, "eos_token_id": eos_token_id or end, "pad_token_id": end} | (own_text or {})
    picture = PICTURE | (own_picture or {})
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=picture, projection_dim=24))


def clip_tokenizer() -> Any:
    content = json.loads(clip_json())["model"]
    return transformers.CLIPTokenizer(content["vocab"], [tuple(merge) for merge in content["merges"]])


def clip_image_processor() -> Any:
    return transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)


def clip(folder: Path) -> None:
    save(folder, clip_model(None), clip_tokenizer(), clip_image_processor())


def clip_old(folder: Path) -> None:
    """CLIP as first published: eos_token_id 2, and the vocabulary as vocab.json and merges.txt."""
    save(folder, clip_model(2), clip_tokenizer(), clip_image_processor())
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(content["vocab"]), "utf-8")
    merges = "\n".join(" ".join(merge) for merge in content["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", "utf-8")


def siglip(folder: Path) -> None:
    """SigLIP with the SentencePiece file alone."""
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*english_words()[:3000], *CAPTIONS]),
        model_writer=trained,
        vocab_size=300,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    folder.mkdir(parents=True)
    (folder / "spiece.model").write_bytes(trained.getvalue())
    tokenizer = transformers.SiglipTokenizer(str(folder / "spiece.model"), model_input_names=["input_ids"])
    text = {**LAYERS, "vocab_size": 300, "max_position_embeddings": CONTEXT, "projection_size": 32}
    model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=PICTURE))
    save(folder, model, tokenizer, transformers.SiglipImageProcessorPil(size=SQUARE))


def gemma_tokenizer(kind: Any, lower: bool = True) -> Any:
    """A BPE over '▁' as Gemma's, in the class that a checkpoint names; with or without words in capitals."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    words = [f"a {word}" for word in english_words()[:2000]]
    learner.train_from_iterator(words if lower else [*words, *map(str.title, words)], trainer)
    content = json.loads(learner.to_str())["model"]
    return kind(
        content["vocab"],
        [tuple(merge) for merge in content["merges"]],
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
        model_input_names=["input_ids"],
    )


def siglip2(folder: Path) -> None:
    """SigLIP 2 for pictures of any shape, with a BPE over '▁' as Gemma's."""
    tokenizer = gemma_tokenizer(transformers.Siglip2Tokenizer)
    text = {**LAYERS, "vocab_size": 400, "max_position_embeddings": CONTEXT, "projection_size": 32}
    vision = {**LAYERS, "patch_size": 8, "num_patches": 16}
    model = transformers.Siglip2Model(transformers.Siglip2Config(text_config=text, vision_config=vision))
    save(folder, model, tokenizer, transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16))


def siglip2_fixed(folder: Path) -> None:
    """SigLIP 2 of a fixed resolution: SigLIP's layout with Gemma's own tokenizer, which keeps case."""
    tokenizer = gemma_tokenizer(transformers.GemmaTokenizer, lower=False)
    text = {**LAYERS, "vocab_size": 400, "max_position_embeddings": CONTEXT, "projection_size": 32}
    model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=PICTURE))
    save(folder, model, tokenizer, transformers.SiglipImageProcessorPil(size=SQUARE))


def bert_tokenizer(folder: Path) -> Any:
    write_bert_vocab(folder)
    return transformers.BertTokenizer.from_pretrained(folder)


def chinese_clip(folder: Path) -> None:
    """Chinese-CLIP with vocab.txt alone."""
    tokenizer = bert_tokenizer(folder)
    text = {**LAYERS, "vocab_size": 400, "max_position_embeddings": CONTEXT}
    model = transformers.ChineseCLIPModel(
        transformers.ChineseCLIPConfig(text_config=text, vision_config=PICTURE, projection_dim=24)
    )
    processor = transformers.ChineseCLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
    save(folder, model, tokenizer, processor)
    (folder / "tokenizer.json").unlink()


def altclip(folder: Path) -> None:
    """AltCLIP: a RoBERTa-like text tower, whose positions start behind the padding id."""
    vocab = [(piece, score) for piece, score in json.loads(unigram_json())["model"]["vocab"]]
    tokenizer = transformers.XLMRobertaTokenizer([*vocab, ("<mask>", 0.0)])
    text = {**LAYERS, "vocab_size": len(vocab) + 1, "max_position_embeddings": CONTEXT + 2, "project_dim": 24}
    model = transformers.AltCLIPModel(
        transformers.AltCLIPConfig(text_config=text, vision_config=PICTURE, projection_dim=24)
    )
    save(folder, model, tokenizer, clip_image_processor())


def metaclip_2(folder: Path) -> None:
    """MetaCLIP 2: CLIP's towers with a vocabulary of all languages, pooled at its EOS."""
    vocab = [(piece, score) for piece, score in json.loads(unigram_json())["model"]["vocab"]]
    tokenizer = transformers.XLMRobertaTokenizer([*vocab, ("<mask>", 0.0)])
    text = {**LAYERS, "vocab_size": len(vocab) + 1, "max_position_embeddings": CONTEXT}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = transformers.MetaClip2Config(text_config=text, vision_config=PICTURE, projection_dim=24)
    save(folder, transformers.MetaClip2Model(config), tokenizer, clip_image_processor())


def vision_text(folder: Path) -> None:
    """A VisionTextDualEncoder of ViT and BERT."""
    tokenizer = bert_tokenizer(folder)
    text = transformers.BertConfig(**LAYERS, vocab_size=400, max_position_embeddings=CONTEXT)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.ViTConfig(**PICTURE), text, projection_dim=24
    )
    model = transformers.VisionTextDualEncoderModel(config)
    save(folder, model, tokenizer, transformers.ViTImageProcessorPil(size=SQUARE))


FAMILIES: dict[str, Callable[[Path], None]] = {
    "clip": clip,
    "clip_old": clip_old,
    "siglip": siglip,
    "siglip2": siglip2,
    "chinese_clip": chinese_clip,
    "altclip": altclip,
    "metaclip_2": metaclip_2,
    "vision_text": vision_text,
}
