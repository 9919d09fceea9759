"""Recall of whatever can embed pictures and texts: a teacher, a checkpoint, the files of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.data.bad_pictures import check_bad
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import SPLITS, Pairs
from conaclip_edge.data.preprocess import BadPicture, decode
from conaclip_edge.errors import UserError, unknown
from conaclip_edge.evaluation.encoders import Encoder, open_encoder
from conaclip_edge.evaluation.recall import Ranks, bootstrap, ranks
from conaclip_edge.system.files import read_json
from conaclip_edge.system.progress import track

BATCH = 32


def evaluate(model: Path, data: Path | None, split: str, target: str) -> dict[str, Any]:
    """Measure recall of a model folder on a split.

    Args:
        model: folder of a teacher, a checkpoint or a bundle.
        data: recipe or picture folder; None takes the data that the model's record names.
        split: train, val or test.
        target: for a bundle, which of its targets.
    """
    from conaclip_edge.config.load import data_config

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
    caption_to_image: list[int] = []
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
        caption_to_image += [kept] * len(pairs.captions[row])
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
    return ranks(np.concatenate(pictures), np.concatenate(texts), np.asarray(caption_to_image)), bad


def recorded_data(model: Path) -> DataConfig:
    """Return the data section of the recipe that a model was trained by."""
    for name in ("training.json", "manifest.json"):
        if (model / name).is_file():
            record = read_json(model / name, "record")
            recipe = record.get("recipe") or record.get("training", {}).get("recipe")
            if recipe:
                return parse(DataConfig, recipe.get("data", {}), f"{model / name} (recipe.data)")
    raise UserError(f"{model} does not say which data it was trained on. Pass --data RECIPE_OR_FOLDER.")


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
