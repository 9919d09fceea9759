"""What a measured recall is worth: number of pictures, chance, the teacher's figure, an interval, and a plain verdict.

A recall is called "at chance" where its 95 % interval includes what a random order gives, and its split is called "too
few to tell" with fewer than 20 pictures or an interval wider than 20 points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conaclip_edge.system.result import Result

LEAST_PICTURES = 20  # of fewer, chance alone puts half or more of the answers among the first ten
WIDEST = 20.0  # points of mean recall; a wider interval does not tell a good model from a poor one


class Certainty(Result):
    """What stands beside a mean recall, in percent.

    Attributes:
        pictures: ranked ones.
        chance: mean recall of a random order of the same pictures and captions.
        interval_95: of the mean recall; pictures are resampled.
        teacher_mean_recall: the teacher's on the same pictures; None where it is not known.
        at_chance: whether the interval includes chance.
        too_few: whether the pictures are too few to tell.
    """

    pictures: int
    chance: float
    interval_95: tuple[float, float]
    teacher_mean_recall: float | None = None
    at_chance: bool
    too_few: bool

    def verdict(self) -> str:
        """Say in plain words what the recall cannot show; "" if nothing stands against it."""
        few = f"{self.pictures} pictures are too few to tell"
        if self.at_chance:
            return f"at chance ({few})" if self.too_few else "at chance: it finds no more than a random order would"
        return few if self.too_few else ""


def certainty(
    pictures: int, chance: float, interval: tuple[float, float], teacher_mean_recall: float | None = None
) -> Certainty:
    """Judge a mean recall by its interval.

    Args:
        pictures: ranked ones.
        chance: mean recall of a random order, in percent.
        interval: of the mean recall, in percent.
        teacher_mean_recall: the teacher's on the same pictures, where known.
    """
    low, high = interval
    return Certainty(
        pictures=pictures,
        chance=chance,
        interval_95=interval,
        teacher_mean_recall=teacher_mean_recall,
        at_chance=low <= chance,
        too_few=pictures < LEAST_PICTURES or high - low > WIDEST,
    )


def mean_certainty(ones: Sequence[Certainty]) -> Certainty:
    """Return what stands beside the mean over seeds of one way of training: the mean of their intervals.

    Args:
        ones: one per seed, of the same pictures; at least one.
    """
    low, high = (sum(one.interval_95[end] for one in ones) / len(ones) for end in (0, 1))
    first = ones[0]
    return certainty(first.pictures, first.chance, (low, high), first.teacher_mean_recall)


def recall_text(mean: float, found: Certainty | None) -> str:
    """Write a mean recall with all that belongs to it.

    Args:
        mean: of the six recalls, in percent.
        found: what stands beside it; None where an older record lacks it.
    """
    if found is None:
        return f"{mean:.1f} %"
    low, high = found.interval_95
    parts = [f"{found.pictures} pictures", f"chance {found.chance:.1f} %"]
    if found.teacher_mean_recall is not None:
        parts.append(f"teacher {found.teacher_mean_recall:.1f} %")
    verdict = found.verdict()
    return f"{mean:.1f} % [{low:.1f} to {high:.1f}] ({', '.join(parts)})" + (f", {verdict}" if verdict else "")


def teacher_mean_recall(training: Mapping[str, Any], fingerprint: str, split: str, pictures: int) -> float | None:
    """Return the mean recall that a student's training record has of its teacher on the very pictures; None if none.

    Args:
        training: content of training.json, as a bundle's manifest has it too.
        fingerprint: of the data set.
        split: of it.
        pictures: that were ranked.
    """
    if not isinstance(training, Mapping) or (training.get("data") or {}).get("fingerprint") != fingerprint:
        return None
    found = ((training.get("teacher") or {}).get("recall") or {}).get(split)
    return float(found["mean_recall"]) if found and found["n"] == pictures else None
