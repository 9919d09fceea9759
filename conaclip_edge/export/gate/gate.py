"""The gate: exported files, run by themselves, are compared with the float32 student on held-out pairs."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from conaclip_edge.bundle.embeddings import (
    NORM_ERROR,
    cosines,
    embed_ids,
    embed_pixels,
    finite,
    host,
    norm_error,
    summary,
)
from conaclip_edge.bundle.gate_words import CHANCE, by_chance, grid_cosine
from conaclip_edge.bundle.golden import Golden
from conaclip_edge.bundle.manifest import Gate, Retrieval
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.evaluation.mean_interval import chance
from conaclip_edge.evaluation.recall import KS, Ranks, ranks
from conaclip_edge.evaluation.relative_recall import relative_recall
from conaclip_edge.export.gate.held_out import HeldOut
from conaclip_edge.runtime.tower import Executed, Tower

SAMPLES = 1000  # of the bootstrap
# A float file has no rounding to be excused by, so its bar does not come from the settings.
FLOAT_COSINE = {"fp32": 0.99999, "fp16": 0.9999, "int8": 0.0}


@dataclass(frozen=True)
class FileEmbeddings:
    """What one exported file gave.

    Attributes:
        executed: what ran the file.
        held_out: embeddings [n, d] of the held-out pictures or captions.
        golden: embeddings of the golden pictures or texts.
    """

    executed: Executed
    held_out: np.ndarray
    golden: np.ndarray


def run_file(tower: Tower, name: str, held: HeldOut, golden: Golden, pad_id: int, label: str) -> FileEmbeddings:
    """Run an exported tower over held-out and golden inputs, one at a time as an app does.

    Dynamic int8 takes its scales from the whole batch, so a batch would give other embeddings than the device.

    Args:
        tower: the loaded file.
        name: "image" or "text".
        held: the held-out pairs.
        golden: the golden vectors.
        pad_id: fills texts up where the file takes certain lengths only.
        label: for the progress.
    """
    if name == "image":
        found = [embed_pixels(tower, pixels, label) for pixels in (held.pixels, golden.pixels)]
    else:
        found = [embed_ids(tower, ids, pad_id, label) for ids in (held.ids, golden.ids)]
    return FileEmbeddings(tower.executed, *found)


def compare_with_student(
    outputs: dict[str, FileEmbeddings], held: HeldOut, golden: Golden, on_grids: bool = False
) -> dict[str, Gate]:
    """Compare two files with the float32 student, each beside the student's other tower and both together.

    Args:
        outputs: of the files "image" and "text".
        held: the held-out pairs that they ran on.
        golden: the golden vectors that they ran on.
        on_grids: whether the image file computes on the grids that its tower was trained on.
    """
    as_trained = {"image": held.on_grids if on_grids else None}
    found = {tower: finite(run.held_out) for tower, run in outputs.items()}
    pair: Retrieval | None = None
    alone: dict[str, Retrieval | None] = {}
    if held.targets is None:
        pair = compare_ranks(ranks(found["image"], found["text"], held.caption_to_image), held.ranks)
        alone["image"] = compare_ranks(ranks(found["image"], held.texts, held.caption_to_image), held.ranks)
        alone["text"] = compare_ranks(ranks(held.pictures, found["text"], held.caption_to_image), held.ranks)
    else:
        own = np.arange(len(held.pictures))
        alone["image"] = compare_ranks(ranks(found["image"], held.targets.embeddings, own), held.ranks)
    expected = {"image": held.pictures, "text": held.texts}
    return {
        tower: Gate(
            dataset=held.dataset,
            fingerprint=held.fingerprint,
            split=held.split,
            pictures=len(held.pictures),
            captions=len(held.texts),
            executed=run.executed,
            host=host(),
            cosine=summary(cosines(run.held_out, expected[tower])),
            norm_error=max(norm_error(run.held_out), norm_error(run.golden)),
            not_finite=len(run.held_out) - int(np.isfinite(run.held_out).all(axis=1).sum()),
            recall_student=held.ranks.recall(),
            alone=alone.get(tower),
            pair=pair,
            golden=summary(cosines(run.golden, golden.embeddings(tower))),
            found=held.targets.of if held.targets else None,
            chance=chance(held.ranks),
            teacher_mean_recall=held.teacher_mean_recall,
            on_grids=None if (trained := as_trained.get(tower)) is None else summary(cosines(run.held_out, trained)),
        )
        for tower, run in outputs.items()
    }


def compare_ranks(found: Ranks, student: Ranks) -> Retrieval:
    """Compare the ranks that exported files give with the float32 student's.

    A student that finds nothing has nothing to lose: its share is 1.
    """
    recall, before = found.recall(), student.recall()
    share, worse, better = {}, {}, {}
    for way in before:
        mean, left = sum(before[way].values()), sum(recall[way].values())
        share[way] = left / mean if mean else 1.0
        change = _hits(getattr(found, way)) - _hits(getattr(student, way))
        worse[way], better[way] = int((change < 0).sum()), int((change > 0).sum())
    shares = relative_recall(found, student, SAMPLES)
    intervals = {way: (shares[way].low, shares[way].high) for way in before}
    return Retrieval(recall=recall, relative_recall=share, worse=worse, better=better, interval_95=intervals)


def _hits(best: np.ndarray) -> np.ndarray:
    """Count at how many of 1, 5 and 10 each query has its answer [n], from the rank of the best answer [n]."""
    return np.asarray(sum((best <= k).astype(int) for k in KS))


def gate_failures(gate: Gate, tower: str, config: ExportConfig, golden: Golden) -> list[str]:
    """Return what keeps a tower's file from passing, one phrase for each failure; none if it passes.

    A file on int8 grids is to give what its tower gave in training; how far it is from the float weights, recall says.
    """
    bar = max(config.min_cosine if config.precision == "int8" else 0, FLOAT_COSINE[config.precision])
    least = golden.least_cosine(tower, config.precision)
    failures = []
    if gate.not_finite:
        failures.append(f"{gate.not_finite} embeddings are NaN or infinite")
    if gate.norm_error > NORM_ERROR:
        failures.append(f"embeddings are not normalised (a length is off by {gate.norm_error:.3g})")
    if gate.on_grids is not None and gate.on_grids.mean < (trained := grid_cosine(config.target)):
        failures.append(f"mean cosine to the tower as trained {gate.on_grids.mean:.5f} is below {trained}")
    if gate.on_grids is None and gate.cosine.mean < bar:
        failures.append(f"mean cosine {gate.cosine.mean:.5f} is below {bar}")
    if gate.golden.min < least:
        failures.append(f"least golden cosine {gate.golden.min:.5f} is below {least}")
    return failures + _recall_failures(gate.alone, config)


def pair_failures(gate: Gate, config: ExportConfig) -> list[str]:
    """Return what keeps the two files of a target from passing together; nothing if they pass."""
    return _recall_failures(gate.pair, config)


def _recall_failures(found: Retrieval | None, config: ExportConfig) -> list[str]:
    """Compare the relative recall with its bar, unless the queries that changed could as well have fallen by chance."""
    if found is None:  # without captions no text can be ranked
        return []
    return [
        f"{way} recall is {100 * share:.1f} % of the student's, below {100 * config.min_relative_recall:g} % "
        f"({found.worse[way]} queries worse, {found.better[way]} better)"
        for way, share in found.relative_recall.items()
        if share < config.min_relative_recall and by_chance(found.worse[way], found.better[way]) < CHANCE
    ]


def worst_layers(quantisation_errors: dict[str, float], tower: str, lost: float) -> str:
    """Name the groups of layers that most of a tower's loss comes from.

    Args:
        quantisation_errors: layer, e.g. "image.blocks.3.fc1" -> 1 - cosine when it alone is int8.
        tower: "image" or "text".
        lost: 1 - mean cosine of the exported file.

    Returns:
        The groups with their shares; or that rounding is not the cause, where it explains less than a tenth of it.
    """
    groups: dict[str, float] = {}
    for layer, value in quantisation_errors.items():
        if layer.startswith(f"{tower}."):
            group = re.sub(r"^(\w+\.blocks\.\d+).*", r"\1", layer)
            groups[group] = groups.get(group, 0.0) + max(value, 0.0)
    total = sum(groups.values())
    if total < lost / 10:
        return (
            f"int8 rounding of its layers explains {total:.2g} of the loss of {lost:.2g}: look at the graph itself "
            "(mask, pooling, normalisation, activation ranges)"
        )
    worst = sorted(groups.items(), key=lambda item: -item[1])[:3]
    return "most quantisation error in " + ", ".join(f"{group} ({100 * value / total:.0f} %)" for group, value in worst)
