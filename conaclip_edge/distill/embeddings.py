"""What a loss term looks at: the embeddings of a batch, and those of one edge of the interaction graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from conaclip_edge.distill.losses.one_way import Rows

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

    def role(self, name: str) -> Tensor:
        """Return the embeddings of an encoder by its name in the graph; the teacher's never get a gradient."""
        table: dict[str, Tensor] = {"SI": self.si, "TI": self.ti.detach(), "ST": self.st, "TT": self.tt.detach()}
        return table[name]

    def positives(self, edge: str) -> Tensor:
        """Tell which row and column of an edge's matrix belong together: bool [rows, columns]."""
        rows, columns = (name[1] for name in edge.split("-"))
        if rows == columns:
            ids = self.picture_ids if rows == "I" else self.text_ids
            return ids[:, None] == ids[None, :]
        same = (self.picture_ids[:, None] == self.caption_to_image[None, :]).float()
        # a text that several pictures of the batch have belongs to all of them
        same = same @ (self.text_ids[:, None] == self.text_ids[None, :]).float() > 0
        return same if rows == "I" else same.T


@dataclass(frozen=True)
class Edge:
    """One edge of a batch, as the losses see it; everything is computed when it is first asked for.

    Attributes:
        name: such as "SI-TI"; a learning type for a symmetric loss, which joins both of its edges.
        batch: the embeddings.
        scale: 1 / temperature, a scalar tensor.
        teacher_scale: the same for the teacher's cosines.
        way: which way its matrix is read.
        reverse: whether a divergence is the student's to the teacher, not the teacher's to the student.
        bias: that the sigmoid loss adds to the logits.
        own_scales: whether each of several teachers has its own scale.
    """

    name: str
    batch: Embeddings
    scale: Tensor
    teacher_scale: Tensor
    way: Rows = "both"
    reverse: bool = False
    bias: float = 0.0
    own_scales: bool = False

    @cached_property
    def rows(self) -> Tensor:
        """The embeddings of the edge's first encoder [n, d]."""
        return self.batch.role(self.name.split("-")[0])

    @cached_property
    def columns(self) -> Tensor:
        """The embeddings of the edge's second encoder [m, d]."""
        return self.batch.role(self.name.split("-")[1])

    @cached_property
    def similarities(self) -> Tensor:
        """Cosines of rows and columns [n, m]."""
        return self.rows @ self.columns.T

    @cached_property
    def teacher_similarities(self) -> Tensor:
        """The same with the teacher's encoder at both ends [n, m]: the target of SD and KL."""
        rows, columns = (self.batch.role("T" + name[1]) for name in self.name.split("-"))
        return rows @ columns.T

    @cached_property
    def teacher_logits(self) -> list[Tensor]:
        """The scaled cosines of each teacher [n, m]: whose mean distribution is the target of KL."""
        parts = self.batch.teachers
        if not parts:
            return [self.teacher_scale * self.teacher_similarities]
        widths = [part.width for part in parts]
        rows, columns = (self.batch.role("T" + name[1]).split(widths, dim=1) for name in self.name.split("-"))
        scales = [1 / part.temperature if self.own_scales else self.teacher_scale for part in parts]
        # the vectors of n teachers side by side are one unit vector, in which each has the length 1 / sqrt(n)
        return [len(parts) * scale * (one @ other.T) for scale, one, other in zip(scales, rows, columns, strict=True)]

    @cached_property
    def positives(self) -> Tensor:
        """Which row and column belong together: bool [n, m]."""
        return self.batch.positives(self.name)

    @cached_property
    def partners(self) -> tuple[Tensor, Tensor]:
        """Rows and columns that belong together one by one, both [k, d]; across modalities only pairs do."""
        if TYPE_OF[self.name] == "intra-ts":
            return self.rows, self.columns
        return self.rows[: self.batch.pairs], self.columns[: self.batch.pairs]

    @cached_property
    def mirrored(self) -> tuple[Tensor, Tensor]:
        """The cosines of a learning type's two edges, laid so that equal entries mean equal pairs."""
        one, other = (
            self.batch.role(edge.split("-")[0]) @ self.batch.role(edge.split("-")[1]).T
            for edge in LEARNING_TYPES[self.name]
        )
        if self.name in _ROW_ALIGNED:
            pairs = self.batch.pairs
            return one[:pairs, :pairs], other[:pairs, :pairs]
        return one, other.T  # both with pictures in the rows

    def queue_logits(self, rows: Tensor) -> Tensor | None:
        """Return the logits [n, q] of scaled rows with queued teacher embeddings; a row's own partners are masked."""
        batch, role = self.batch, self.name.split("-")[1]
        if role not in batch.queue:
            return None
        embeddings, ids, pictures = batch.queue[role]
        if TYPE_OF[self.name] == "intra-ts":
            own = (batch.picture_ids if role == "TI" else batch.text_ids)[:, None] == ids[None, :]
        elif self.name == "SI-TT":
            equal_text = (batch.text_ids[:, None] == ids[None, :]).float()
            own = (batch.picture_ids[:, None] == pictures[None, :]) | (self.positives.float() @ equal_text > 0)
        else:
            own = batch.caption_to_image[:, None] == pictures[None, :]
        return (rows @ embeddings.T).masked_fill(own, -torch.inf)
