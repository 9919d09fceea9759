"""Fitting a dual encoder to a domain: its last layers learn the train pairs, the rest stays locked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.config.distill import TeacherConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.usable import check_left_out, reasons, usable_pictures
from conaclip_edge.distill.losses.infonce import infonce
from conaclip_edge.distill.sampler import Sampler
from conaclip_edge.distill.steps.optimizer import lr_factor
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.evaluate import rank_split
from conaclip_edge.evaluation.mean_interval import split_recall
from conaclip_edge.evaluation.torch_encoders import teacher_encoder
from conaclip_edge.models.teacher.huggingface import TransformersTeacher
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.models.teacher.record import SplitRecall, TeacherData, TeacherFit
from conaclip_edge.models.tokenizer import whole_text
from conaclip_edge.system.files import atomic_folder, write_json
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.products import TEACHER
from conaclip_edge.system.progress import Meter


@only_run
def fit_teacher(config: TeacherConfig, out: Path) -> TeacherFit:
    """Train the last layers of the dual encoder `config.base` on captioned train pictures and write it as a new folder.

    Args:
        config: the recipe; its `base` is a folder or hub name of a transformers dual encoder.
        out: the fitted teacher's folder, which `load_teacher` opens.

    Returns:
        What `training.json` holds; the recall before fitting is in it.

    Raises:
        UserError: the base is no transformers dual encoder, or no train picture has a caption.
    """
    torch.manual_seed(config.seed)
    assert config.base is not None
    teacher = load_teacher(config.base)
    if not isinstance(teacher, TransformersTeacher):
        raise UserError(f"base {config.base} is a teacher that was joined of packaged towers; train it again instead.")
    pairs = read_pairs(config.data)
    before = _recall(teacher, pairs, config)
    learning = unlock(teacher.model, config.train_layers)
    _fit(teacher, learning, config, pairs)
    teacher.freeze()
    after = _recall(teacher, pairs, config)
    record = TeacherFit(
        recipe=config,
        data=TeacherData(name=pairs.name, fingerprint=pairs.fingerprint, licence=pairs.licence),
        val=after.get("val"),
        test=after.get("test"),
        trained_parameters=sum(parameter.numel() for parameter in learning),
        before=before,
    )
    with atomic_folder(out, TEACHER) as target:
        for part in (teacher.model, teacher.tokenizer, teacher.image_processor):
            part.save_pretrained(target)
        write_json(target / "training.json", record.model_dump(mode="json"))
    return record


def unlock(model: nn.Module, layers: int) -> list[nn.Parameter]:
    """Let the last layers of every stack learn, and what comes after the stacks; returns those parameters.

    Args:
        model: a dual encoder.
        layers: how many of each tower's transformer layers learn, from the last.
    """
    locked: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            for layer in list(module)[: max(0, len(module) - layers)]:
                locked |= {id(parameter) for parameter in layer.parameters()}
        if name.endswith(("embeddings", "pre_layrnorm", "pre_layernorm")):
            locked |= {id(parameter) for parameter in module.parameters()}
    learning = [parameter for parameter in model.parameters() if id(parameter) not in locked]
    for parameter in learning:
        parameter.requires_grad_(True)
    return learning


def _fit(teacher: TransformersTeacher, learning: list[nn.Parameter], config: TeacherConfig, pairs: Pairs) -> None:
    counts = np.asarray([len(captions) for captions in pairs.captions])
    rows = pairs.rows("train")
    rows = rows[counts[rows] > 0]
    if not len(rows):
        raise UserError(f"{pairs.name}: no train picture has a caption, so there is nothing to fit the teacher to.")
    texts = [caption for captions in pairs.captions for caption in captions]
    first_text = np.concatenate([[0], np.cumsum(counts)])
    sampler = Sampler(rows, rows[:0], first_text, min(config.batch_size, len(rows)), 0.0, 1, config.seed)
    optimizer = torch.optim.AdamW(learning, lr=config.lr, weight_decay=config.weight_decay)
    left_out: dict[str, str] = {}
    with Meter("fit teacher", config.steps) as meter:
        for step in range(config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * lr_factor(step, config.steps, warmup=0.1)
            batch = sampler.rows(step)
            known = len(left_out)
            usable = usable_pictures(pairs, batch.pictures.tolist(), config.data.max_pixels, left_out)
            pictures = {row: picture for row, _, picture in usable}
            if len(left_out) > known:
                check_left_out(reasons(left_out), len(rows), config.data.max_bad, pairs.name)
            captions = [texts[text] for row, text in zip(batch.pictures, batch.texts, strict=True) if row in pictures]
            loss = _loss(teacher, list(pictures.values()), captions, config.temperature)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            meter.advance(loss=float(loss.detach()), pictures=len(pictures))


def _loss(teacher: TransformersTeacher, pictures: list[Any], captions: list[str], temperature: float) -> Tensor:
    given = teacher.image_processor(images=pictures, return_tensors="pt")
    images = F.normalize(teacher.model.get_image_features(**given).pooler_output, dim=-1)
    words = teacher.tokenizer([whole_text(text) for text in captions], return_tensors="pt", **teacher.padding)
    texts = F.normalize(teacher.model.get_text_features(**words).pooler_output, dim=-1)
    same = torch.tensor([[one == other for other in captions] for one in captions])
    return infonce(images @ texts.T / temperature, same)


def _recall(teacher: TransformersTeacher, pairs: Pairs, config: TeacherConfig) -> dict[str, SplitRecall]:
    found = {}
    for split in ("val", "test"):
        if len(pairs.rows(split)):
            result, _ = rank_split(teacher_encoder(teacher, "fitted"), pairs, split, config.data)
            found[split] = split_recall(result)
    return found
