"""What a loss term looks at: the embeddings of a batch, and those of one edge of the interaction graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from conaclip_edge.distill.losses.one_way import Rows, ways
from conaclip_edge.distill.losses.positives import Belonging

LEARNING_TYPES = {
    "intra-ts": ("SI-TI", "ST-TT"),
    "inter-ts": ("SI-TT", "ST-TI"),
    "intra-ss": ("SI-SI", "ST-ST"),
    "inter-ss": ("SI-ST",),
}
TYPE_OF = {edge: kind for kind, edges in LEARNING_TYPES.items() for edge in edges}
# Where a row is a picture on one edge and its text on the mirrored one, only pairs have both.
_ROW_ALIGNED = {"intra-ts", "intra-ss"}


@dataclass(frozen=True)
class TeacherPart:
    """One of several teachers: its columns in the teachers' embeddings, which stand side by side in this order.

    Attributes:
        width: number of its columns.
        temperature: its own.
    """

    width: int
    temperature: float


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors of one batch; the first `pairs` pictures and texts belong together row by row.

    Attributes:
        si, ti: student and teacher pictures [P, d].
        st, tt: student and teacher texts [C, d].
        picture_ids: [P]; equal ids are the same picture.
        text_ids: [C]; equal ids are the same text.
        caption_to_image: [C]; the picture id that a text describes, -1 for an unpaired text.
        pairs: number of leading rows that are pairs.
        teacher_temperature: the teacher's own.
        teachers: the columns of each of several teachers; empty for one.
        queue: past teacher rows by role ("TI", "TT") as (embeddings [q, d], own ids [q], picture ids [q]).
        process: of those that share the loss; every `processes`-th row and column is its own, from this one on.
        processes: each computes its rows against all columns; the mean of their losses is the whole batch's. All of
            them have as many rows, and as many pairs.
    """

    si: Tensor
    ti: Tensor
    st: Tensor
    tt: Tensor
    picture_ids: Tensor
    text_ids: Tensor
    caption_to_image: Tensor
    pairs: int
    teacher_temperature: float = 0.01
    teachers: tuple[TeacherPart, ...] = ()
    queue: dict[str, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)
    process: int = 0
    processes: int = 1

    @property
    def mine(self) -> slice:
        """The rows of this process."""
        return slice(self.process, None, self.processes)

    @cached_property
    def belonging(self) -> Belonging:
        """Which pictures and texts belong together."""
        return Belonging(self.picture_ids, self.text_ids, self.caption_to_image)

    def role(self, name: str) -> Tensor:
        """Return the embeddings of an encoder by its name in the graph; the teacher's never get a gradient."""
        table: dict[str, Tensor] = {"SI": self.si, "TI": self.ti.detach(), "ST": self.st, "TT": self.tt.detach()}
        return table[name]


@dataclass(frozen=True)
class Edge:
    """One edge of a batch, as the losses see it: this process's rows against all columns.

    Everything is computed when it is first asked for. A loss that also reads the columns of the edge's matrix asks the
    `turned` edge, whose rows they are.

    Attributes:
        name: such as "SI-TI"; a learning type for a symmetric loss, which joins both of its edges.
        batch: the embeddings.
        scale: 1 / temperature, a scalar tensor.
        teacher_scale: the same for the teacher's cosines.
        way: which way its matrix is read.
        reverse: whether a divergence is the student's to the teacher, not the teacher's to the student.
        bias: that the sigmoid loss adds to the logits.
        own_scales: whether each of several teachers has its own scale.
        turned_from: the edge that this one is, with rows and columns exchanged.
    """

    name: str
    batch: Embeddings
    scale: Tensor
    teacher_scale: Tensor
    way: Rows = "both"
    reverse: bool = False
    bias: float = 0.0
    own_scales: bool = False
    turned_from: Edge | None = None

    @cached_property
    def turned(self) -> Edge:
        """The edge with rows and columns exchanged."""
        return replace(self, turned_from=self)

    def over_ways(self, loss: Callable[[Edge], Tensor]) -> Tensor:
        """Return a loss over the edge's rows, over its columns, or half of each: as `way` says."""
        return ways(self.way, lambda: loss(self), lambda: loss(self.turned))

    @cached_property
    def rows(self) -> Tensor:
        """The embeddings of the edge's first encoder [n, d] that are this process's."""
        return self._ends[0][self.batch.mine]

    @cached_property
    def columns(self) -> Tensor:
        """The embeddings of the edge's second encoder [m, d]."""
        return self._ends[1]

    @cached_property
    def similarities(self) -> Tensor:
        """Cosines of rows and columns [n, m]."""
        return self.rows @ self.columns.T

    @cached_property
    def teacher_similarities(self) -> Tensor:
        """The same with the teacher's encoder at both ends [n, m]: the target of SD."""
        rows, columns = self._teacher_ends
        return rows[self.batch.mine] @ columns.T

    @cached_property
    def logits(self) -> Tensor:
        """Cosines of rows and columns, scaled [n, m]."""
        if (whole := self._of_one_process) is not None:
            return whole.logits.T
        return (self.scale * self.rows) @ self.columns.T

    @cached_property
    def teacher_logits(self) -> list[Tensor]:
        """The scaled cosines of each teacher [n, m]: whose mean distribution is the target of KL."""
        if (whole := self._of_one_process) is not None:
            return [one.T for one in whole.teacher_logits]
        parts = self.batch.teachers
        rows, columns = self._teacher_ends
        rows = rows[self.batch.mine]
        if not parts:
            return [(self.teacher_scale * rows) @ columns.T]
        widths = [part.width for part in parts]
        ends = zip(rows.split(widths, dim=1), columns.split(widths, dim=1), strict=True)
        scales = [1 / part.temperature if self.own_scales else self.teacher_scale for part in parts]
        # the vectors of n teachers side by side are one unit vector, in which each has the length 1 / sqrt(n)
        return [(len(parts) * scale * one) @ other.T for scale, (one, other) in zip(scales, ends, strict=True)]

    @cached_property
    def positives(self) -> Tensor:
        """Which row and column belong together: bool [n, m]."""
        return self.batch.belonging.positives(*self._kinds, self.batch.mine)

    @cached_property
    def answered(self) -> Tensor:
        """How many rows have a positive, on average over the processes."""
        return self.batch.belonging.answered(*self._kinds).sum() / self.batch.processes

    @cached_property
    def answered_columns(self) -> Tensor:
        """Which columns have a positive among the rows of all processes: bool [m]."""
        rows, columns = self._kinds
        return self.batch.belonging.answered(columns, rows)

    @cached_property
    def partners(self) -> tuple[Tensor, Tensor]:
        """Rows and columns that belong together one by one, both [k, d]; across modalities only pairs do."""
        rows, columns = self._ends
        if TYPE_OF[self.name] != "intra-ts":
            rows, columns = rows[: self.batch.pairs], columns[: self.batch.pairs]
        return rows[self.batch.mine], columns[self.batch.mine]

    @cached_property
    def mirrored(self) -> tuple[Tensor, Tensor]:
        """The cosines of a learning type's two edges [n, m], laid so that equal entries mean equal pairs."""
        if (whole := self._of_one_process) is not None:
            one, other = whole.mirrored
            return one.T, other.T
        matrices = []
        for edge, swapped in zip(LEARNING_TYPES[self.name], (False, self.name not in _ROW_ALIGNED), strict=True):
            rows, columns = (self.batch.role(end) for end in edge.split("-"))
            if self.name in _ROW_ALIGNED:
                rows, columns = rows[: self.batch.pairs], columns[: self.batch.pairs]
            if swapped != bool(self.turned_from):  # pictures in the rows of both, or texts where the edge is turned
                rows, columns = columns, rows
            matrices.append(rows[self.batch.mine] @ columns.T)
        one, other = matrices
        return one, other

    @cached_property
    def queue_logits(self) -> Tensor | None:
        """Logits [n, q] of rows with queued teacher embeddings, a row's own partners masked; none for columns."""
        batch, mine, role = self.batch, self.batch.mine, self.name.split("-")[1]
        if role not in batch.queue or self.turned_from:
            return None
        embeddings, ids, pictures = batch.queue[role]
        if TYPE_OF[self.name] == "intra-ts":
            own = (batch.picture_ids if role == "TI" else batch.text_ids)[mine][:, None] == ids[None, :]
        elif self.name == "SI-TT":
            own = batch.picture_ids[mine][:, None] == pictures[None, :]
            own = own | batch.belonging.own_queued_texts(ids, mine)
        else:
            own = batch.caption_to_image[mine][:, None] == pictures[None, :]
        return ((self.scale * self.rows) @ embeddings.T).masked_fill(own, -torch.inf)

    @property
    def _of_one_process(self) -> Edge | None:
        """The edge that this one was turned from, where its matrices hold all rows: they need no second product."""
        return self.turned_from if self.batch.processes == 1 else None

    @property
    def _encoders(self) -> list[str]:
        names = self.name.split("-")
        return names[::-1] if self.turned_from else names

    @property
    def _kinds(self) -> tuple[str, str]:
        rows, columns = self._encoders
        return rows[1], columns[1]

    @property
    def _ends(self) -> tuple[Tensor, Tensor]:
        rows, columns = self._encoders
        return self.batch.role(rows), self.batch.role(columns)

    @property
    def _teacher_ends(self) -> tuple[Tensor, Tensor]:
        rows, columns = self._kinds
        return self.batch.role("T" + rows), self.batch.role("T" + columns)
