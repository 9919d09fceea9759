"""The losses of other methods in float64 loops, each from its own formula; none knows of edges, terms or weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tests.oracles.losses import Batch, Matrix, cosines, log_softmax, transposed

CLIP_SCALE = 100.0  # what CLIP's teachers multiply their cosines by


def cross_entropy(logits: Matrix) -> float:
    """Mean over rows of the cross entropy to the diagonal."""
    return -sum(log_softmax(row)[place] for place, row in enumerate(logits)) / len(logits)


def soft_cross_entropy(logits: Matrix, targets: Matrix) -> float:
    """Mean over rows of the cross entropy to the softmax of the targets' rows."""
    total = 0.0
    for row, wanted in zip(logits, targets, strict=True):
        log_q, log_p = log_softmax(row), log_softmax(wanted)
        total -= sum(math.exp(p) * q for p, q in zip(log_p, log_q, strict=True))
    return total / len(logits)


def divergence(logits: Matrix, targets: Matrix) -> float:
    """Mean over rows of KL(softmax(targets) || softmax(logits))."""
    return soft_cross_entropy(logits, targets) - soft_cross_entropy(targets, targets)


def times(matrix: Matrix, scale: float) -> Matrix:
    return [[scale * value for value in row] for row in matrix]


def both(function: Callable[..., float], *matrices: Matrix) -> float:
    """Half along the rows, half along the columns."""
    return (function(*matrices) + function(*(transposed(one) for one in matrices))) / 2


def tinyclip(batch: Batch, scale: float) -> float:
    """Affinity mimicking: cross entropy to the teacher's affinities, both scales fixed at 50."""
    student, teacher = times(cosines(batch.si, batch.st), 50), times(cosines(batch.ti, batch.tt), 50)
    return both(soft_cross_entropy, student, teacher) - both(soft_cross_entropy, teacher, teacher)


def clip_kd(batch: Batch, scale: float) -> float:
    """InfoNCE, contrastive relations (CRD), interactive contrast (ICL), 2000 times the features' mean square (FD)."""
    student = times(cosines(batch.si, batch.st), scale)
    teacher = times(cosines(batch.ti, batch.tt), CLIP_SCALE)
    icl = (
        cross_entropy(times(cosines(batch.si, batch.tt), 2.659)),
        cross_entropy(times(cosines(batch.st, batch.ti), 2.659)),
    )
    # in the width of this batch: 2000 is for a mean over numbers, the graph's weight is that of 512 of them
    features = sum(float(np.sum((a - b) ** 2)) / len(a) for a, b in ((batch.si, batch.ti), (batch.st, batch.tt)))
    return both(cross_entropy, student) + both(divergence, student, teacher) + sum(icl) / 2 + 2000 / 512 * features


def open_clip(batch: Batch, scale: float) -> float:
    """Contrastive loss and cross entropy to the teacher's distribution, each side at its own scale."""
    student = times(cosines(batch.si, batch.st), scale)
    teacher = times(cosines(batch.ti, batch.tt), CLIP_SCALE)
    return both(cross_entropy, student) + both(divergence, student, teacher)


def mobileclip(batch: Batch, scale: float) -> float:
    """Distillation alone, of one teacher."""
    student = times(cosines(batch.si, batch.st), scale)
    return both(divergence, student, times(cosines(batch.ti, batch.tt), CLIP_SCALE))


def dime_fm(batch: Batch, scale: float) -> float:
    """0.7 of the vision-language divergence at 1, and 0.3 of twice the one within a modality at 3, of logits x 100."""
    total = 0.0
    for student, teacher, other in ((batch.si, batch.ti, batch.tt), (batch.st, batch.tt, batch.ti)):
        across = divergence(times(cosines(student, other), 100), times(cosines(teacher, other), 100))
        within = divergence(times(cosines(student, teacher), 100 / 3), times(cosines(teacher, teacher), 100 / 3))
        total += 0.7 * across + 0.3 * 2 * within
    return total


def conaclip_tbps(batch: Batch, scale: float) -> float:
    """A third party's ConaCLIP for person retrieval."""

    def distance(one: Matrix, other: Matrix) -> float:
        return (
            sum((a - b) ** 2 for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))
            / len(one) ** 2
        )

    pictures, texts, teacher = (batch.si, batch.ti), (batch.st, batch.tt), cosines(batch.ti, batch.tt)
    student = cosines(batch.si, batch.st)
    total = both(cross_entropy, times(student, 50)) + distance(student, teacher)
    picture_text, text_picture = cosines(batch.si, batch.tt), cosines(batch.st, batch.ti)
    total += both(cross_entropy, times(picture_text, 2)) + both(cross_entropy, times(text_picture, 2))
    one, other = times(picture_text, 2), transposed(times(text_picture, 2))
    total += both(divergence, one, other) + both(divergence, other, one)
    for mine, theirs in (pictures, texts):
        total += cross_entropy(times(cosines(mine, theirs), 2))
        total += distance(cosines(mine, theirs), cosines(theirs, theirs)) + distance(
            cosines(mine, mine), cosines(theirs, theirs)
        )
    return total + distance(cosines(*pictures), cosines(*texts))


def motis(batch: Batch, scale: float) -> float:
    """Each student tower finds its teacher's vector of the same sample among those of the batch, at 0.05."""
    return sum(
        cross_entropy(times(cosines(student, teacher), 1 / 0.05))
        for student, teacher in ((batch.si, batch.ti), (batch.st, batch.tt))
    )


PEERS: dict[str, Callable[[Batch, float], float]] = {
    "motis": motis,
    "tinyclip": tinyclip,
    "clip-kd": clip_kd,
    "open-clip": open_clip,
    "mobileclip": mobileclip,
    "dime-fm": dime_fm,
    "conaclip-tbps": conaclip_tbps,
}
