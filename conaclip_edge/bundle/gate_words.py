"""What the gate found, in plain words: its tolerance, the sign test, and why a row below the bar passed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from conaclip_edge.bundle.manifest import ExportedFile, Gate, Retrieval
from conaclip_edge.config.export import ExportConfig

# With few pairs a rank or two flips either way in any file: a loss less likely than this by chance is the file's.
CHANCE = 0.05
# What a file on int8 grids gives may differ by a step where rounding is a tie, and later layers make more of it.
# Core ML adds in float16, whose eleven bits make ties of many sums (docs/results/export.md).
_GRID_COSINE, _GRID_COSINE_FLOAT16 = 0.99, 0.98
WAYS = {"t2i": "text to picture", "i2t": "picture to text"}


def grid_cosine(target: str) -> float:
    """Return the least mean cosine of a target's image file on int8 grids to the tower as it was trained."""
    return _GRID_COSINE_FLOAT16 if target == "coreml" else _GRID_COSINE


def by_chance(worse: int, better: int) -> float:
    """Return how likely at least so many of the changed queries get worse where each might as well get better."""
    changed = worse + better
    return math.fsum(math.comb(changed, count) / 2**changed for count in range(worse, changed + 1))


def relative_recall_text(found: Retrieval | None, with_interval: bool = False) -> str:
    """Write the relative recall of both directions; a dash where none could be measured."""
    if found is None:
        return "-"
    return " / ".join(
        f"{100 * found.relative_recall[way]:.1f} %{_interval(found, way) if with_interval else ''}" for way in WAYS
    )


def together_text(files: Sequence[ExportedFile]) -> str:
    """Write the relative recall with both files of each target, with 95 % intervals; "" where none was measured."""
    pairs = [(name, file.gate.pair) for name, file in _pairs(files)]
    return "; ".join(f"{name} {relative_recall_text(pair, True)}" for name, pair in pairs if pair)


def widest(files: Sequence[ExportedFile]) -> Gate:
    """Return the gate of some exported files with the most pictures, the first of them."""
    return max((file.gate for file in files), key=lambda gate: gate.pictures)


def on_fewer(files: Sequence[ExportedFile]) -> list[str]:
    """Name the files that were run on fewer pictures than others, a sentence each: a slow executor ran them."""
    most = widest(files).pictures
    return [
        f"{file.path} was run on the first {file.gate.pictures} of the {most} pictures alone: what runs it here is slow"
        for file in files
        if file.gate.pictures < most
    ]


def tolerance_text(files: Sequence[ExportedFile]) -> str:
    """Say what the gate asks of each file, by the settings of some exported files."""
    bars = sorted({(_bar(file, "min_cosine"), _bar(file, "min_relative_recall")) for file in files})
    asked = "; ".join(
        f"a mean cosine of {cosine:g} in int8 and {100 * recall:g} % of its recall" for cosine, recall in bars
    )
    text = (
        f"The gate asks of each file, compared with the float32 model: {asked} each way. A lower recall passes where "
        "the sign test cannot tell it from chance: of the queries that changed, as many get better as worse in any "
        f"equal file, and so many worse ones come by chance {100 * CHANCE:g} % of the time or more often."
    )
    trained = [file for file in files if file.gate.on_grids]
    if trained:
        least = min(file.gate.on_grids.mean for file in trained if file.gate.on_grids)
        asked = " or ".join(f"{bar:g}" for bar in sorted({grid_cosine(file.target) for file in trained}, reverse=True))
        text += (
            " The image tower was trained to compute in int8. Of its int8 files the cosine to the float weights is "
            f"shown and not judged: they have to give what it gave in training (mean cosine {asked}; least "
            f"found {least:.4f}), and to keep the recall."
        )
    return text


def passed_below(files: Sequence[ExportedFile]) -> list[str]:
    """Return a sentence for each file, and each pair of files, whose recall is below its bar though it passed."""
    lines = []
    for file in files:
        least = _bar(file, "min_relative_recall")
        lines += [f"{file.path}: {reason}" for reason in _below(file.gate.alone, least, file.gate)]
    for name, file in _pairs(files):
        reasons = _below(file.gate.pair, _bar(file, "min_relative_recall"), file.gate)
        lines += [f"both towers of {name}: {reason}" for reason in reasons]
    return lines


def _pairs(files: Sequence[ExportedFile]) -> list[tuple[str, ExportedFile]]:
    """Return what both files of each pair are called, and the one that is named for them: the image tower's.

    Of a form that only the text tower has, it is the text tower's: its pair is with the image file for the CPU.
    """
    paths = {file.path for file in files}
    named = [file for file in files if file.tower == "image" or file.path.replace("text.", "image.") not in paths]
    return [(file.path.replace(f"{file.tower}.", ""), file) for file in named]


def _bar(file: ExportedFile, name: str) -> float:
    """Return a setting of the export, or today's default where the manifest does not name it."""
    return float(file.settings.get(name, ExportConfig.model_fields[name].default))


def _below(found: Retrieval | None, least: float, gate: Gate) -> list[str]:
    if found is None:
        return []
    reasons = []
    for way, share in found.relative_recall.items():
        if share < least:
            worse, better = found.worse[way], found.better[way]
            queries = "query" if worse == 1 else "queries"
            reasons.append(
                f"kept {100 * share:.1f} %{_interval(found, way)} of the recall {_way(gate, way)}, below "
                f"{100 * least:g} %: passed, since {worse} {queries} got worse and {better} better, which chance gives "
                f"{100 * by_chance(worse, better):.0f} % of the time"
            )
    return reasons


def _way(gate: Gate, way: str) -> str:
    return f"from {WAYS[way]}" if gate.found is None else f"of {gate.found}"


def _interval(found: Retrieval, way: str) -> str:
    if not found.interval_95:
        return ""
    low, high = found.interval_95[way]
    return f" [{100 * low:.1f} to {100 * high:.1f}]"


def measured_text(gate: Gate) -> str:
    """Say on what the gate ran, what chance and the float32 model give there, and what the pictures cannot tell."""
    student = sum(sum(found.values()) for found in gate.recall_student.values()) / 6
    chance = "" if gate.chance is None else f", chance {gate.chance:.1f} %"
    if gate.teacher_mean_recall is not None:
        chance += f", teacher {gate.teacher_mean_recall:.1f} %"
    if gate.found is None:
        on = f"{gate.pictures} pictures and {gate.captions} captions"
        recall = f"mean recall of the float32 model {student:.1f} %{chance}"
    else:
        on = f"{gate.pictures} pictures and {gate.captions} phrases of the tokenizer's words"
        recall = f"the float32 model's pictures find {gate.found} with a mean recall of {student:.1f} %{chance}"
    text = f"Gate on {on} of {gate.dataset} (split {gate.split}): {recall}."
    if gate.found is not None:
        text += (
            " There are no captions, so recall from texts cannot be measured, of neither the model nor the files: "
            "the text tower is judged by its cosine alone."
        )
    if gate.split != "val":
        text += " Val alone was too small; figures of a report on test are of pictures that the gate has seen."
    if "train" in gate.split:
        text += " Train pictures say whether a file equals the student, and nothing of how good the student is."
    if gate.too_few:
        text += (
            f" {gate.pictures} pictures are too few to tell whether recall was lost (see its intervals): what decided "
            "is the cosine of each embedding."
        )
    return text
