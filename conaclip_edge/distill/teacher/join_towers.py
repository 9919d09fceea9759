"""Joining two pretrained towers into a teacher: an image head trained into the text tower's space, towers locked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.config.distill import TeacherConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.distill.losses.infonce import infonce
from conaclip_edge.distill.sampler import Sampler
from conaclip_edge.distill.steps.optimizer import lr_factor
from conaclip_edge.distill.teacher.split_ranks import split_ranks
from conaclip_edge.evaluation.mean_interval import split_recall
from conaclip_edge.models.teacher.joined import Head, JoinedConfig, JoinedTeacher
from conaclip_edge.models.teacher.packaged_towers import PretrainedTowers
from conaclip_edge.models.teacher.record import SplitRecall, TeacherData, TeacherTraining
from conaclip_edge.system.files import atomic_folder
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.products import TEACHER
from conaclip_edge.system.progress import Meter
from conaclip_edge.teacher_cache.store import TeacherCache, teacher_cache, write_cache


@only_run
def train_teacher(config: TeacherConfig, out: Path) -> TeacherTraining:
    """Train the head on cached tower features, write the teacher's folder, and fill its embedding cache.

    Args:
        config: the recipe.
        out: the teacher's folder.

    Returns:
        What `training.json` holds.
    """
    torch.manual_seed(config.seed)
    pairs = read_pairs(config.data)
    towers = PretrainedTowers()
    features = teacher_cache(pairs, towers, config.cache, config.views, config.data.max_bad, config.data.max_pixels)
    head = Head(towers.embed_dim, config.hidden, towers.text.features, config.dropout)
    _fit(head, config, pairs, features)
    pictures = _project(head, features.pictures(np.arange(len(pairs))))
    texts = features.texts(np.arange(features.first_text[-1]))

    def recall(split: str) -> SplitRecall:
        return split_recall(split_ranks(pairs, features, pictures, texts, split))

    record = TeacherTraining(
        recipe=config,
        data=TeacherData(name=pairs.name, fingerprint=pairs.fingerprint, licence=pairs.licence),
        val=recall("val"),
        test=recall("test"),
    )
    with atomic_folder(out, TEACHER) as target:
        _write(config, towers, head, target, record)
    write_cache(pairs, JoinedTeacher.load(out), config.cache, pictures, texts, features, config.data.max_pixels)
    return record


def _fit(head: Head, config: TeacherConfig, pairs: Pairs, features: TeacherCache) -> None:
    rows = pairs.rows("train")
    rows = rows[features.usable[rows] & (np.diff(features.first_text)[rows] > 0)]
    sampler = Sampler(rows, rows[:0], features.first_text, config.batch_size, 0.0, config.views, config.seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    with Meter("train teacher", config.steps) as meter:
        for step in range(config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * lr_factor(step, config.steps, warmup=0.1)
            batch = sampler.rows(step)
            pictures = head(torch.from_numpy(features.pictures(batch.pictures, batch.views)))
            texts = torch.from_numpy(features.texts(batch.texts))
            loss = infonce(pictures @ texts.T / config.temperature, _same_text(texts))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            meter.advance(loss=float(loss.detach()), pictures=len(batch.pictures))
    head.eval()


def _same_text(texts: Tensor) -> Tensor:
    """Tell which pairs of a batch have the same caption: those are positives of each other."""
    return (texts @ texts.T > 1 - 1e-5) | torch.eye(len(texts), dtype=torch.bool)


@torch.no_grad()
def _project(head: Head, features: np.ndarray) -> np.ndarray:
    return np.concatenate([head(part).numpy() for part in torch.from_numpy(features).split(1024)])


def _write(config: TeacherConfig, towers: PretrainedTowers, head: Head, target: Path, record: TeacherTraining) -> None:
    text_config = towers.text.encoder.config.to_dict()
    (target / "text.json").write_text(json.dumps(text_config, indent=2) + "\n", "utf-8")
    (target / "tokenizer.json").write_bytes(towers.tokenizer_file.read_bytes())
    shape = JoinedConfig(
        name=config.name,
        embed_dim=towers.text.features,
        hidden=config.hidden,
        temperature=config.temperature,
    )
    teacher = JoinedTeacher(shape, target)
    teacher.image.load_state_dict(towers.image.state_dict())
    teacher.text.load_state_dict(towers.text.state_dict())
    teacher.image_head.load_state_dict(head.state_dict())
    teacher.save(target, text_config, record.model_dump(mode="json"))
