"""From EasyNLP's CLIP checkpoints to folders that `load_teacher` reads; tensors are read, and nothing is run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conaclip_edge.config.base import Config
from conaclip_edge.config.parse import parse
from conaclip_edge.errors import UserError
from conaclip_edge.models.clip_merges import read_merges
from conaclip_edge.models.easynlp.files import check_files
from conaclip_edge.models.easynlp.layout import KINDS, is_unused, part_of, transformers_config
from conaclip_edge.models.openai_weights import fill
from conaclip_edge.models.teacher.converted import ConvertReport
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.system.files import atomic_folder, read_json, write_json
from conaclip_edge.system.products import TEACHER, check_out


def convert(folder: Path, out: Path) -> ConvertReport:
    """Convert a checkpoint folder of EasyNLP's CLIP and try the result out.

    Args:
        folder: holds config.json, pytorch_model.bin and vocab.txt.
        out: gets a transformers CLIPModel, ChineseCLIPModel or VisionTextDualEncoderModel with its tokenizer and image
            processor.

    Raises:
        UserError: a file is missing, or is not what config.json says.
    """
    check_files(folder)
    if out.resolve() == folder.resolve():
        raise UserError(f"--out {out} is the checkpoint's own folder, which would be replaced. Choose another one.")
    check_out(out, TEACHER)
    kind, config = _read_config(folder / "config.json")
    model, unused = _build(config, kind, _read_weights(folder / "pytorch_model.bin", kind), folder)
    with atomic_folder(out, TEACHER) as target:
        model.save_pretrained(target)
        _write_tokenizer(kind, model.config.text_config, folder / "vocab.txt", target)
        _image_processor(kind, model.config.vision_config.image_size).save_pretrained(target)
        teacher = load_teacher(str(target))
        # by it the next conversion knows that the folder may be replaced
        write_json(target / "converted.json", {"from": "EasyNLP", "model_type": kind})
    count = sum(parameter.numel() for parameter in model.parameters())
    return ConvertReport(
        teacher=out, model_type=kind, embed_dim=teacher.embed_dim, parameters=count, unused=tuple(unused)
    )


def _read_config(path: Path) -> tuple[str, Config]:
    values = read_json(path, "checkpoint config")
    kind = values.get("model_type") if isinstance(values, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{path}: unknown model_type {str(kind)[:100]!r}. Known: {', '.join(KINDS)}.")
    return kind, parse(KINDS[kind], values, str(path))


def _read_weights(path: Path, kind: str) -> dict[str, Tensor]:
    """Read tensors by name and nothing else; a pickle that wants to run something is refused."""
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a broken or hostile file raises differs with its form
        # of torch's message what it found, without its advice to load the file with less care
        found = re.search(r"unsupported \w+:? [\w.]+", str(error), re.IGNORECASE)
        reason = found[0] if found else type(error).__name__
        raise UserError(
            f"cannot read {path}: it holds more than tensors, or is damaged ({reason}). "
            "Nothing in it was run. Save the model's state_dict() alone."
        ) from None
    if not isinstance(held, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in held.items()):
        raise UserError(f"{path} must hold tensors by name. Save the model's state_dict() alone.")
    weights = {name.removeprefix(f"{kind}."): value for name, value in held.items()}
    if kind == "clip":  # may lack the scale, which no embedding depends on, or has it as a vector of one
        weights["logit_scale"] = weights.get("logit_scale", torch.tensor(1 / 0.07).log()).squeeze()
    return weights


def _build(config: Config, kind: str, weights: dict[str, Tensor], folder: Path) -> tuple[Any, list[str]]:
    """Build the transformers model of a checkpoint; returns it and the names of tensors it has no use for."""
    import transformers

    where = folder / "pytorch_model.bin"
    kinds = {"open_clip": "CLIPModel", "chinese_clip": "ChineseCLIPModel", "clip": "VisionTextDualEncoderModel"}
    projection = weights.get("text_projection.weight")
    width = len(projection) if projection is not None and projection.ndim else 1
    shape = transformers_config(config, width, str(folder / "config.json"))
    with torch.device("meta"):
        model: Any = getattr(transformers, kinds[kind])(shape)
        if kind == "clip":
            for part in (model.text_projection, model.visual_projection):
                part.bias = torch.nn.Parameter(torch.empty(width))
    parts = {target: part_of(target, kind) for target in model.state_dict()}
    fill(model, parts, weights, where, lambda name: is_unused(name, kind))
    return model.eval(), sorted(set(weights) - {part.name for part in parts.values()})


def _write_tokenizer(kind: str, text: Any, vocabulary: Path, target: Path) -> None:
    """Write the tokenizer of a checkpoint from its vocab.txt: BERT's word pieces, or OpenAI's merges in gzip.

    Args:
        kind: of the checkpoint.
        text: config of the text tower.
        vocabulary: the vocab.txt.
        target: where the tokenizer goes.
    """
    from transformers import BertTokenizer, CLIPTokenizer

    size = text.vocab_size
    try:
        if kind == "open_clip":
            vocab, merges = read_merges(vocabulary, size)
            CLIPTokenizer(vocab, merges, model_max_length=text.max_position_embeddings).save_pretrained(target)
            return
        tokens = vocabulary.read_text("utf-8").rstrip("\n").split("\n")
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"cannot read {vocabulary}: {' '.join(str(error).split())[:150]}.") from None
    if len(tokens) > size:
        raise UserError(
            f"{vocabulary} has {len(tokens)} tokens, config.json says vocab_size {size}. Use the vocab.txt that "
            "belongs to the weights."
        )
    (target / "vocab.txt").write_text("\n".join(tokens) + "\n", "utf-8")
    BertTokenizer.from_pretrained(target, local_files_only=True).save_pretrained(target)


def _image_processor(kind: str, size: int) -> Any:
    """Make the image processor: shorter side to the size, the middle cut out, CLIP's mean and deviation."""
    from transformers import ChineseCLIPImageProcessorPil, CLIPImageProcessorPil

    make: Callable[..., Any] = ChineseCLIPImageProcessorPil if kind == "chinese_clip" else CLIPImageProcessorPil
    return make(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
