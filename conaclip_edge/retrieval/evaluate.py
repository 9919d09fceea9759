"""Recall of whatever can embed pictures and texts: a teacher, a checkpoint, the files of a bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from conaclip_edge.config import DataConfig
from conaclip_edge.config_values import parse
from conaclip_edge.data.pairs import SPLITS, Pairs
from conaclip_edge.data.preprocess import BadPicture, decode, to_pixels
from conaclip_edge.data.read import read_pairs
from conaclip_edge.errors import UserError, unknown
from conaclip_edge.files import read_json
from conaclip_edge.models.embeddings import check_bad
from conaclip_edge.models.teacher import TEACHER_TYPE, Teacher
from conaclip_edge.progress import track
from conaclip_edge.retrieval.recall import Ranks, bootstrap, ranks

BATCH = 32


@dataclass(frozen=True)
class Encoder:
    """Two functions into one space, and what they are of.

    Attributes:
        name: for reports.
        pictures: upright RGB pictures -> unit vectors [n, d].
        texts: texts -> unit vectors [n, d].
        executed: "native" or "reference" for exported files, "torch" for checkpoints and teachers.
    """

    name: str
    pictures: Callable[[list[Image]], np.ndarray]
    texts: Callable[[list[str]], np.ndarray]
    executed: str = "torch"


def evaluate(model: Path, data: Path | None, split: str, target: str) -> dict[str, Any]:
    """Measure recall of a model folder on a split.

    Args:
        model: folder of a teacher, a checkpoint or a bundle.
        data: recipe or picture folder; None takes the data that the model's record names.
        split: train, val or test.
        target: for a bundle, which of its targets.
    """
    from conaclip_edge.recipes import data_config

    if split not in SPLITS:
        raise unknown("split", split, SPLITS, where="--split")
    encoder = open_encoder(model, target)
    config = data_config(data) if data else recorded_data(model)
    pairs = read_pairs(config)
    result, bad = rank_split(encoder, pairs, split, config)
    return {
        "model": encoder.name,
        "executed": encoder.executed,
        "dataset": {
            "name": pairs.name,
            "split": split,
            "pictures": len(result.i2t),
            "captions": len(result.t2i),
            "left_out": bad,
            "fingerprint": pairs.fingerprint,
        },
        "recall": result.recall(),
        "interval_95": bootstrap(result),
        "median_rank": result.median_rank(),
        "mean_recall": result.mean_recall(),
        "rules": "i2t: any caption counts; a tie counts against the query; interval: pictures resampled",
    }


def rank_split(encoder: Encoder, pairs: Pairs, split: str, config: DataConfig) -> tuple[Ranks, list[str]]:
    """Encode the pictures and captions of a split and rank them; broken pictures are left out and named."""
    rows = pairs.rows(split)
    pictures: list[np.ndarray] = []
    captions: list[str] = []
    owners: list[int] = []
    bad: list[str] = []
    waiting: list[Image] = []
    kept = 0
    for row in track(rows.tolist(), f"encoding {split} pictures"):
        try:
            waiting.append(decode(pairs.read(row), config.max_pixels))
        except BadPicture as error:
            bad.append(f"{pairs.keys[row]}: {error}")
            continue
        captions += pairs.captions[row]
        owners += [kept] * len(pairs.captions[row])
        kept += 1
        if len(waiting) == BATCH:
            pictures.append(encoder.pictures(waiting))
            waiting = []
    if waiting:
        pictures.append(encoder.pictures(waiting))
    check_bad(bad, len(rows), config.max_bad, pairs.name)
    if not captions:
        raise UserError(f"split '{split}' of data set '{pairs.name}' has no captions to evaluate with.")
    texts = [encoder.texts(captions[start : start + BATCH]) for start in range(0, len(captions), BATCH)]
    return ranks(np.concatenate(pictures), np.concatenate(texts), np.asarray(owners)), bad


def recorded_data(model: Path) -> DataConfig:
    """Return the data section of the recipe that a model was trained by."""
    for name in ("training.json", "manifest.json"):
        if (model / name).is_file():
            record = read_json(model / name, "record")
            recipe = record.get("recipe") or record.get("training", {}).get("recipe")
            if recipe:
                return parse(DataConfig, recipe.get("data", {}), f"{model / name} (recipe.data)")
    raise UserError(f"{model} does not say which data it was trained on. Pass --data RECIPE_OR_FOLDER.")


def open_encoder(model: Path, target: str = "onnx") -> Encoder:
    """Open a folder as an encoder, by what lies in it."""
    if (model / "manifest.json").is_file():
        return bundle_encoder(model, target)
    if not (model / "config.json").is_file():
        raise UserError(f"no model at {model}: a folder of a teacher, a checkpoint or a bundle is needed.")
    config = read_json(model / "config.json", "model config")
    if "conaclip_edge" in config:
        return student_encoder(model)
    from conaclip_edge.models.teacher import load_teacher

    kind = "joined teacher" if config.get("model_type") == TEACHER_TYPE else str(config.get("model_type"))
    return teacher_encoder(load_teacher(str(model)), kind)


def teacher_encoder(teacher: Teacher, kind: str) -> Encoder:
    """Make an encoder of a loaded teacher."""
    return Encoder(
        f"{teacher.name} ({kind})",
        lambda pictures: teacher.embed_pictures(pictures).numpy(),
        lambda texts: teacher.embed_texts(texts).numpy(),
    )


def student_encoder(folder: Path) -> Encoder:
    """Open a checkpoint in float32."""
    import torch

    from conaclip_edge.models.checkpoint import load_student

    student = load_student(folder)
    size = student.model.config.image.size

    def pictures(batch: list[Image]) -> np.ndarray:
        pixels = torch.from_numpy(np.stack([to_pixels(picture, size) for picture in batch])).float() / 255
        with torch.inference_mode():
            return np.asarray(student.model.encode_image(pixels).numpy())

    def texts(batch: list[str]) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(student.model.encode_text(torch.from_numpy(student.tokenizer(batch))).numpy())

    return Encoder(f"student {folder.name}", pictures, texts)


def bundle_encoder(folder: Path, target: str) -> Encoder:
    """Open the exported files of one target of a bundle."""
    from conaclip_edge.runtime.bundle import open_bundle

    bundle = open_bundle(folder, target)

    def pictures(batch: list[Image]) -> np.ndarray:
        values = np.stack([to_pixels(picture, bundle.image_size) for picture in batch]).astype(np.float32) / 255
        return bundle.encode_pixels(values)

    return Encoder(f"bundle {folder.name} ({target})", pictures, bundle.encode_texts, bundle.executed)


def table(outcome: dict[str, Any]) -> str:
    """Format the result of `evaluate` for a terminal."""
    data = outcome["dataset"]
    size = f"{data['pictures']} pictures, {data['captions']} captions"
    lines = [
        f"{outcome['model']} on {data['name']}/{data['split']}: {size}",
        f"{'':14}{'R@1':>16}{'R@5':>16}{'R@10':>16}{'median rank':>14}",
    ]
    for direction, label in (("t2i", "text->picture"), ("i2t", "picture->text")):
        cells = ""
        for k, value in outcome["recall"][direction].items():
            low, high = outcome["interval_95"][direction][k]
            cells += f"{f'{value:.1f} [{low:.0f}-{high:.0f}]':>16}"
        lines.append(f"{label:14}{cells}{outcome['median_rank'][direction]:>14.1f}")
    lines.append(f"mean of the six: {outcome['mean_recall']:.1f} % (in brackets: 95 % bootstrap intervals)")
    return "\n".join(lines)
