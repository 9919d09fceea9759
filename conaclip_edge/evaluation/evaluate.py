"""Recall of whatever can embed pictures and texts: a teacher, a checkpoint, the files of a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL.Image import Image

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.load import data_config
from conaclip_edge.config.parse import parse
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import SPLITS, Pairs
from conaclip_edge.data.usable import reasons, usable_pictures
from conaclip_edge.errors import UserError, unknown
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.evaluation.encoders import open_encoder
from conaclip_edge.evaluation.mean_interval import certainty_of
from conaclip_edge.evaluation.recall import Ranks, bootstrap, ranks
from conaclip_edge.models.certainty import Certainty, recall_text, teacher_mean_recall
from conaclip_edge.runtime.tower import Executed
from conaclip_edge.system.files import read_json
from conaclip_edge.system.progress import track
from conaclip_edge.system.result import Result


class EvaluatedSplit(Result):
    """What recall was measured on.

    Attributes:
        name: of the data set.
        split: train, val or test.
        pictures: ranked ones.
        captions: ranked ones.
        left_out: pictures that cannot be used, as "key: reason".
        fingerprint: of the data set.
    """

    name: str
    split: str
    pictures: int
    captions: int
    left_out: tuple[str, ...]
    fingerprint: str


class EvaluationReport(Result):
    """Recall of one model on one split; tables go by direction ("t2i", "i2t"), then by k ("1", "5", "10").

    Attributes:
        model: its name and kind.
        executed: by the platform's own runtime, by the reference interpreter, or by torch.
        dataset: what it was measured on.
        recall: recall@k in percent.
        interval_95: its 95 % bootstrap interval.
        median_rank: by direction.
        mean_recall: mean of the six recalls, in percent.
        rules: how ties, several captions and intervals count.
        certainty: what stands beside the mean: number of pictures, chance, the teacher's figure, interval, verdict.
    """

    model: str
    executed: Executed | Literal["torch"]
    dataset: EvaluatedSplit
    recall: dict[str, dict[str, float]]
    interval_95: dict[str, dict[str, tuple[float, float]]]
    median_rank: dict[str, float]
    mean_recall: float
    rules: str = "i2t: any caption counts; a tie counts against the query; interval: pictures resampled"
    certainty: Certainty


def evaluate(model: Path, data: Path | None, split: str, target: str) -> EvaluationReport:
    """Measure recall of a model folder on a split; see `evaluate_with_ranks`."""
    return evaluate_with_ranks(model, data, split, target)[0]


def evaluate_with_ranks(model: Path, data: Path | None, split: str, target: str) -> tuple[EvaluationReport, Ranks]:
    """Measure recall of a model folder on a split, and keep the rank of every query.

    Args:
        model: folder of a teacher, a checkpoint or a bundle.
        data: recipe or picture folder; None takes the data that the model's record names.
        split: train, val or test.
        target: for a bundle, which of its targets.

    Raises:
        UserError: no such model, data or split, no caption in the split, or too many broken pictures.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, where="--split")
    encoder = open_encoder(model, target)
    config = data_config(data) if data else recorded_data(model)
    pairs = read_pairs(config, captions_needed=False)
    result, left_out = rank_split(encoder, pairs, split, config)
    dataset = EvaluatedSplit(
        name=pairs.name,
        split=split,
        pictures=len(result.i2t),
        captions=len(result.t2i),
        left_out=tuple(left_out),
        fingerprint=pairs.fingerprint,
    )
    report = EvaluationReport(
        model=encoder.name,
        executed=encoder.executed,
        dataset=dataset,
        recall=result.recall(),
        interval_95=bootstrap(result),
        median_rank=result.median_rank(),
        mean_recall=result.mean_recall(),
        certainty=certainty_of(result, recorded_teacher(model, pairs.fingerprint, split, len(result.i2t))),
    )
    return report, result


def rank_split(encoder: Encoder, pairs: Pairs, split: str, config: DataConfig) -> tuple[Ranks, list[str]]:
    """Embed the pictures and captions of a split and rank them.

    Args:
        encoder: with both towers.
        pairs: the data set.
        split: train, val or test.
        config: gives max_pixels and max_bad.

    Returns:
        The ranks, and "key: reason" of every picture that was left out.

    Raises:
        UserError: the split has no picture or no caption, or too many broken pictures.
    """
    require_captions(pairs, split)
    kept: list[int] = []
    left_out: dict[str, str] = {}

    def pictures() -> Iterator[Image]:
        rows = track(pairs.rows(split).tolist(), f"encoding {split} pictures")
        for row, _, picture in usable_pictures(pairs, rows, config.max_pixels, left_out, config.max_bad):
            kept.append(row)
            yield picture

    embedded = encoder.embed_images(pictures())
    captions = [text for row in kept for text in pairs.captions[row]]
    caption_to_image = np.repeat(np.arange(len(kept)), [len(pairs.captions[row]) for row in kept])
    return ranks(embedded, encoder.embed_texts(captions), caption_to_image), reasons(left_out)


def require_captions(pairs: Pairs, split: str) -> None:
    """Refuse a split without captions before anything is embedded.

    Raises:
        UserError: no picture of the split has a caption; says what can be measured without.
    """
    if not any(len(pairs.captions[row]) for row in pairs.rows(split)):
        raise UserError(
            f"split '{split}' of data set '{pairs.name}' has no captions to evaluate with, so recall cannot be "
            "measured: name captioned pictures (data.path of a recipe, --data of evaluate). What is known without: "
            "distill's figure on val (how often a picture finds its teacher's), and export's gate."
        )


def recorded_data(model: Path) -> DataConfig:
    """Return the data section of the recipe that a model was trained by."""
    for name in ("training.json", "manifest.json"):
        if (model / name).is_file():
            record = read_json(model / name, "record")
            recipe = record.get("recipe") or record.get("training", {}).get("recipe")
            if recipe:
                return parse(DataConfig, recipe.get("data", {}), f"{model / name} (recipe.data)")
    raise UserError(f"{model} does not say which data it was trained on. Pass --data RECIPE_OR_FOLDER.")


def recorded_teacher(model: Path, fingerprint: str, split: str, pictures: int) -> float | None:
    """Return the mean recall of a student's teacher on the same pictures as its record has it; None where it has none.

    Args:
        model: folder of a checkpoint or a bundle.
        fingerprint: of the data set.
        split: of it.
        pictures: that were ranked.
    """
    for name in ("training.json", "manifest.json"):
        if (model / name).is_file():
            record = read_json(model / name, "record")
            return teacher_mean_recall(record.get("training", record), fingerprint, split, pictures)
    return None


def table(report: EvaluationReport) -> str:
    """Format a report for a terminal."""
    data = report.dataset
    lines = [
        f"{report.model} on {data.name}/{data.split}: {data.pictures} pictures, {data.captions} captions",
        f"{'':14}{'R@1':>16}{'R@5':>16}{'R@10':>16}{'median rank':>14}",
    ]
    for direction, label in (("t2i", "text->picture"), ("i2t", "picture->text")):
        cells = ""
        for k, value in report.recall[direction].items():
            low, high = report.interval_95[direction][k]
            cells += f"{f'{value:.1f} [{low:.0f}-{high:.0f}]':>16}"
        lines.append(f"{label:14}{cells}{report.median_rank[direction]:>14.1f}")
    lines.append(f"mean of the six: {recall_text(report.mean_recall, report.certainty)}")
    lines.append("in brackets: 95 % bootstrap intervals; chance: what a random order gives")
    if report.certainty.teacher_mean_recall is None and report.model.startswith(("student ", "bundle ")):
        lines.append("the teacher's figure on these pictures is not recorded: evaluate its folder with the same --data")
    return "\n".join(lines)
