"""The supervisions and the whole interaction graph in float64 loops, straight from their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Matrix = list[list[float]]
SIGLIP_BIAS = -10.0  # that SigLIP begins with


@dataclass
class Batch:
    """A batch in numpy; the fields mean what they mean in `conaclip_edge.distill.embeddings.Embeddings`."""

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
        chosen = [value for value, flag in zip(log_p, right, strict=False) if flag]
        costs.append(-sum(chosen) / len(chosen))
    return sum(costs) / len(costs) if costs else 0.0


def infonce(
    matrix: Matrix, positives: list[list[bool]], temperature: float, row_negatives: Matrix | None = None
) -> float:
    """Mean of both directions' cross entropy; the extra negatives count for the rows alone."""
    columns = [list(flags) for flags in zip(*positives, strict=True)]
    rows = _cross_entropy(matrix, positives, temperature, row_negatives)
    return (rows + _cross_entropy(transposed(matrix), columns, temperature, None)) / 2


def sigmoid(matrix: Matrix, positives: list[list[bool]], temperature: float, bias: float) -> float:
    """Logistic losses of all entries whose row and column have a positive, summed and divided by such rows."""
    columns = [any(flags) for flags in zip(*positives, strict=True)]
    costs = [
        math.log1p(math.exp(-(value / temperature + bias if right else -value / temperature - bias)))
        for row, flags in zip(matrix, positives, strict=True)
        if any(flags)
        for value, right, known in zip(row, flags, columns, strict=True)
        if known
    ]
    return sum(costs) / max(1, sum(any(flags) for flags in positives))


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

    A text is a picture's if any equal text of the batch describes that picture.
    """
    kind = edge[1] + edge[4]
    if kind == "II":
        return [[a == b for b in batch.picture_ids] for a in batch.picture_ids]
    if kind == "TT":
        return [[a == b for b in batch.text_ids] for a in batch.text_ids]
    texts_of: dict[int, set[int]] = {}
    for text, picture in zip(batch.text_ids, batch.caption_to_image, strict=True):
        texts_of.setdefault(picture, set()).add(text)
    flags = [[text in texts_of.get(picture, set()) for text in batch.text_ids] for picture in batch.picture_ids]
    return flags if kind == "IT" else [list(column) for column in zip(*flags, strict=True)]


def queued(batch: Batch, edge: str) -> Matrix | None:
    """Cosines of an edge's rows with the queue of the teacher at its other end, -inf at a row's own entries."""
    if edge[3:] not in batch.queue:
        return None
    vectors, ids, pictures = batch.queue[edge[3:]]
    matrix = cosines(_role(batch, edge[:2]), vectors)
    for line, row in enumerate(matrix):
        for other, (number, picture) in enumerate(zip(ids, pictures, strict=True)):
            if edge in ("SI-TI", "ST-TT"):
                own = number == (batch.picture_ids if edge == "SI-TI" else batch.text_ids)[line]
            elif edge == "SI-TT":
                texts = {t for t, right in zip(batch.text_ids, together(batch, edge)[line], strict=True) if right}
                own = picture == batch.picture_ids[line] or number in texts
            else:
                own = picture == batch.caption_to_image[line]
            if own:
                row[other] = -math.inf
    return matrix


def _role(batch: Batch, name: str) -> np.ndarray:
    return {"SI": batch.si, "TI": batch.ti, "ST": batch.st, "TT": batch.tt}[name]


def _edge(batch: Batch, edge: str) -> Matrix:
    return cosines(_role(batch, edge[:2]), _role(batch, edge[3:]))


def _target(batch: Batch, edge: str) -> Matrix:
    return _edge(batch, f"T{edge[1]}-T{edge[4]}")


def _mirrored(batch: Batch, learning_type: str) -> tuple[Matrix, Matrix]:
    n = batch.pairs
    if learning_type == "intra-ts":
        return cosines(batch.si[:n], batch.ti[:n]), cosines(batch.st[:n], batch.tt[:n])
    if learning_type == "intra-ss":
        return cosines(batch.si[:n], batch.si[:n]), cosines(batch.st[:n], batch.st[:n])
    assert learning_type == "inter-ts"
    return cosines(batch.si, batch.tt), cosines(batch.ti, batch.st)  # entry (i, j) of both: picture i and text j


def _infonce_term(batch: Batch, edge: str, temperature: float) -> float:
    return infonce(_edge(batch, edge), together(batch, edge), temperature, queued(batch, edge))


def _fd_term(batch: Batch, edge: str, _: float) -> float:
    left, right = _role(batch, edge[:2]), _role(batch, edge[3:])
    return fd(left, right) if edge in ("SI-TI", "ST-TT") else fd(left[: batch.pairs], right[: batch.pairs])


# loss -> its value on a spelled-out edge, or of a symmetric one on a learning type: (batch, edge, temperature)
TERMS: dict[str, Callable[[Batch, str, float], float]] = {
    "infonce": _infonce_term,
    "sigmoid": lambda batch, edge, temperature: sigmoid(
        _edge(batch, edge), together(batch, edge), temperature, SIGLIP_BIAS
    ),
    "fd": _fd_term,
    "sd": lambda batch, edge, _: sd(_edge(batch, edge), _target(batch, edge)),
    "kl": lambda batch, edge, temperature: kl(_edge(batch, edge), _target(batch, edge), temperature),
    "sym-sd": lambda batch, kind, _: sd(*_mirrored(batch, kind)),
    "sym-kl": lambda batch, kind, temperature: sym_kl(*_mirrored(batch, kind), temperature),
}


def term(batch: Batch, edge: str, loss: str, temperature: float) -> float:
    """One term of the graph."""
    return TERMS[loss](batch, edge, temperature)


def graph(batch: Batch, terms: Sequence[tuple[str, str, float, float]]) -> float:
    """Weighted sum of (edge, loss, weight, temperature)."""
    return sum(weight * term(batch, edge, loss, temperature) for edge, loss, weight, temperature in terms)
