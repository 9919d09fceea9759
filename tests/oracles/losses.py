"""The supervisions and the whole interaction graph in float64 loops, straight from their formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Matrix = list[list[float]]


@dataclass
class Batch:
    """A batch in numpy; the fields mean what they mean in `conaclip_edge.distill.graph.Embeddings`."""

    si: np.ndarray
    ti: np.ndarray
    st: np.ndarray
    tt: np.ndarray
    picture_ids: Sequence[int]
    text_ids: Sequence[int]
    caption_to_image: Sequence[int]
    pairs: int
    queue: dict[str, tuple[np.ndarray, Sequence[int], Sequence[int]]] = field(default_factory=dict)


def cosines(a: np.ndarray, b: np.ndarray) -> Matrix:
    """Dot products of all rows of two lists of unit vectors."""
    return [[sum(float(x) * float(y) for x, y in zip(row, other, strict=True)) for other in b] for row in a]


def transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def log_softmax(values: Sequence[float]) -> list[float]:
    top = max(values)
    total = math.log(sum(math.exp(value - top) for value in values)) + top
    return [value - total for value in values]


def _cross_entropy(matrix: Matrix, positives: list[list[bool]], temperature: float, extra: Matrix | None) -> float:
    costs = []
    for number, (row, right) in enumerate(zip(matrix, positives, strict=True)):
        if not any(right):
            continue
        more = extra[number] if extra else []
        log_p = log_softmax([value / temperature for value in (*row, *more)])
        chosen = [log_p[place] for place, flag in enumerate(right) if flag]
        costs.append(-sum(chosen) / len(chosen))
    return sum(costs) / len(costs) if costs else 0.0


def infonce(
    matrix: Matrix, positives: list[list[bool]], temperature: float, row_negatives: Matrix | None = None
) -> float:
    """Mean of both directions' cross entropy; the extra negatives count for the rows alone."""
    columns = [list(flags) for flags in zip(*positives, strict=True)]
    rows = _cross_entropy(matrix, positives, temperature, row_negatives)
    return (rows + _cross_entropy(transposed(matrix), columns, temperature, None)) / 2


def fd(student: np.ndarray, target: np.ndarray) -> float:
    """Mean over rows of the squared distance."""
    return sum(
        sum((float(x) - float(y)) ** 2 for x, y in zip(s, t, strict=True)) for s, t in zip(student, target, strict=True)
    ) / len(student)


def sd(student: Matrix, target: Matrix) -> float:
    """Mean over all entries of the squared difference."""
    entries = [(x - y) ** 2 for s, t in zip(student, target, strict=True) for x, y in zip(s, t, strict=True)]
    return sum(entries) / len(entries)


def _kl_rows(student: Matrix, target: Matrix, temperature: float) -> float:
    total = 0.0
    for row, wanted in zip(student, target, strict=True):
        log_q = log_softmax([value / temperature for value in row])
        log_p = log_softmax([value / temperature for value in wanted])
        total += sum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True))
    return total / len(student)


def kl(student: Matrix, target: Matrix, temperature: float) -> float:
    """KL(target || student), mean over rows, and the same over columns, half each."""
    rows = _kl_rows(student, target, temperature)
    return (rows + _kl_rows(transposed(student), transposed(target), temperature)) / 2


def sym_kl(one: Matrix, other: Matrix, temperature: float) -> float:
    return kl(one, other, temperature) + kl(other, one, temperature)


def together(batch: Batch, edge: str) -> list[list[bool]]:
    """Which row and column of an edge are each other's: the same picture, the same text, or a picture and its text.

    A text is a picture's if any equal text of the batch has that picture as owner.
    """
    kind = edge[1] + edge[4]
    if kind == "II":
        return [[a == b for b in batch.picture_ids] for a in batch.picture_ids]
    if kind == "TT":
        return [[a == b for b in batch.text_ids] for a in batch.text_ids]
    texts_of: dict[int, set[int]] = {}
    for text, owner in zip(batch.text_ids, batch.caption_to_image, strict=True):
        texts_of.setdefault(owner, set()).add(text)
    flags = [[text in texts_of.get(picture, set()) for text in batch.text_ids] for picture in batch.picture_ids]
    return flags if kind == "IT" else [list(column) for column in zip(*flags, strict=True)]


def queued(batch: Batch, edge: str) -> Matrix | None:
    """Cosines of an edge's rows with the queue of the teacher at its other end, -inf at a row's own entries."""
    if edge[3:] not in batch.queue:
        return None
    vectors, ids, pictures = batch.queue[edge[3:]]
    matrix = cosines(_role(batch, edge[:2]), vectors)
    for place, row in enumerate(matrix):
        for other, (number, picture) in enumerate(zip(ids, pictures, strict=True)):
            if edge in ("SI-TI", "ST-TT"):
                own = number == (batch.picture_ids if edge == "SI-TI" else batch.text_ids)[place]
            elif edge == "SI-TT":
                texts = {t for t, right in zip(batch.text_ids, together(batch, edge)[place], strict=True) if right}
                own = picture == batch.picture_ids[place] or number in texts
            else:
                own = picture == batch.caption_to_image[place]
            if own:
                row[other] = -math.inf
    return matrix


def _role(batch: Batch, name: str) -> np.ndarray:
    return {"SI": batch.si, "TI": batch.ti, "ST": batch.st, "TT": batch.tt}[name]


def term(batch: Batch, edge: str, loss: str, temperature: float) -> float:
    """One term of the graph on a spelled-out edge, or a symmetric one on a learning type."""
    n = batch.pairs
    if loss in ("sym-sd", "sym-kl"):
        one, other = {
            "intra-ts": lambda: (
                cosines(batch.si[:n], batch.ti[:n]),
                cosines(batch.st[:n], batch.tt[:n]),
            ),
            "intra-ss": lambda: (
                cosines(batch.si[:n], batch.si[:n]),
                cosines(batch.st[:n], batch.st[:n]),
            ),
            # entry (i, j) of both is about picture i and text j
            "inter-ts": lambda: (cosines(batch.si, batch.tt), cosines(batch.ti, batch.st)),
        }[edge]()
        return sd(one, other) if loss == "sym-sd" else sym_kl(one, other, temperature)
    left, right = _role(batch, edge[:2]), _role(batch, edge[3:])
    if loss == "infonce":
        return infonce(cosines(left, right), together(batch, edge), temperature, queued(batch, edge))
    if loss == "fd":
        return fd(left, right) if edge in ("SI-TI", "ST-TT") else fd(left[:n], right[:n])
    target = cosines(_role(batch, "T" + edge[1]), _role(batch, "T" + edge[4]))
    matrix = cosines(left, right)
    return sd(matrix, target) if loss == "sd" else kl(matrix, target, temperature)


def graph(batch: Batch, terms: Sequence[tuple[str, str, float, float]]) -> float:
    """Weighted sum of (edge, loss, weight, temperature)."""
    return sum(weight * term(batch, edge, loss, temperature) for edge, loss, weight, temperature in terms)
