"""Recipes of a distillation and of a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from conaclip_edge.config.base import Config, Growing, Name
from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.graph import GraphConfig
from conaclip_edge.config.model import StudentConfig

TeacherPrecision = Literal["fp32", "bf16", "fp16"]

DATA = "where pictures and captions are, e.g. data: {path: FOLDER}"


class QatConfig(Config):
    """Quantisation-aware training: further steps in which the picture tower computes on int8 grids."""

    steps: int = Field(20, gt=0, description="steps after train.steps")
    lr: float = Field(1e-4, gt=0, description="peak rate of all weights, pretrained ones too")
    prune: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of the blocks' weights, at most, left out first, by channels needed least",
    )


class TrainConfig(Growing):
    """Budget and optimiser."""

    later: ClassVar[frozenset[str]] = frozenset({"qat", "workers"})

    steps: int = Field(200, ge=0, description="0 only before qat: an earlier student is trained to be int8")
    batch_size: int = Field(128, gt=1, description="pictures (and texts) per step over all processes")
    unpaired: float = Field(0.5, ge=0, lt=1, description="share of a batch drawn from unpaired data where there is any")
    unpaired_texts: int | None = Field(
        None, ge=0, description="unpaired texts per step, which are cheap; left out: as many as unpaired pictures"
    )
    lr: float = Field(1e-3, gt=0, description="peak rate; AdamW, with a cosine to 0")
    lr_pretrained: float = Field(0.3, gt=0, description="factor on lr for weights that start from a pretrained tower")
    weight_decay: float = Field(0.05, ge=0, description="of AdamW")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    accumulate: int = Field(1, gt=0, description="batches per step, whose gradients are added up")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the weights' moving average; 0 turns it off")
    bf16: bool = Field(False, description="compute the towers in bfloat16")
    teacher_views: int = Field(1, gt=0, description="seeded augmentations per picture; 1 means the plain picture only")
    eval_every: int = Field(50, gt=0, description="steps between recall on val (and checkpoints)")
    threads: int = Field(0, ge=0, description="torch threads; 0 leaves torch's own choice")
    workers: int | None = Field(
        None,
        ge=0,
        description="processes that prepare pictures ahead of the steps, for each that trains; left out: none where "
        "resized pictures are kept, else one per core but one, at most 8",
    )
    qat: QatConfig | None = Field(None, description="after `steps`, train the mobile image tower to be int8 throughout")

    @property
    def all_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps + (self.qat.steps if self.qat else 0)


class SyntheticConfig(Config):
    """Made-up inputs that the teacher is asked about: unpaired data for the terms that look at the teacher."""

    pictures: int = Field(0, ge=0, description="compositions of train pictures")
    texts: int = Field(0, ge=0, description="phrases of words from train captions and from the vocabulary")


class FurtherTeacher(Config):
    """A teacher beside the first one."""

    teacher: str = Field(description="its folder, or a hub name")
    temperature: float | None = Field(
        None, gt=0, description="where a term's teacher_temperature is own; left out: of its logit_scale"
    )


class DistillConfig(Growing):
    """A distillation recipe: it names data and teacher, all else has defaults."""

    later: ClassVar[frozenset[str]] = frozenset({"texts", "teachers", "teacher_precision"})

    name: Name = Field("student", description="without --out the checkpoint is runs/<name>")
    seed: int = Field(0, ge=0, lt=2**63, description="of weights, batches and augmentations")
    data: DataConfig = Field(description=DATA)
    teacher: str = Field(description="folder of a teacher, or a hub name; conaclip-edge train-teacher makes the demo's")
    teachers: tuple[FurtherTeacher, ...] = Field(
        (), description="further teachers: kl takes the mean of all distributions, other losses the mean of the cosines"
    )
    teacher_precision: TeacherPrecision = Field(
        "fp32", description="that the teacher computes in; bf16 and fp16 are for GPUs, and have a cache of their own"
    )
    student: StudentConfig = StudentConfig()
    graph: GraphConfig = GraphConfig()
    texts: Path | None = Field(
        None,
        description="file of texts without pictures, one per line: the student learns what the teacher makes of them",
    )
    synthetic: SyntheticConfig = SyntheticConfig()
    train: TrainConfig = TrainConfig()
    cache: Path = Field(Path("runs/cache"), description="teacher embeddings and resized pictures")

    @property
    def all_teachers(self) -> tuple[str, ...]:
        """Folders or hub names of all teachers, the first one first."""
        return (self.teacher, *(one.teacher for one in self.teachers))


class TeacherConfig(Config):
    """A recipe for a teacher: EfficientNet-Lite0 and MiniLM joined by an image head, or `base` fitted to the data."""

    name: Name = Field("teacher", description="without --out the teacher is runs/<name>")
    seed: int = Field(0, ge=0, lt=2**63, description="of weights, batches and augmentations")
    data: DataConfig = Field(description=DATA)
    base: str | None = Field(None, description="fit this dual encoder (folder or hub name) instead of joining towers")
    train_layers: int = Field(
        2, ge=0, description="base only: transformer layers of each tower that learn, from the last"
    )
    hidden: int = Field(1024, gt=0, description="width of the head")
    views: int = Field(1, gt=0, description="seeded augmentations per picture")
    steps: int = Field(1500, gt=0, description="steps of the head, or of the layers that learn")
    batch_size: int = Field(256, gt=1, description="pairs per step")
    lr: float = Field(1e-3, gt=0, description="peak rate")
    weight_decay: float = Field(0.1, ge=0, description="of AdamW")
    dropout: float = Field(0.5, ge=0, lt=1, description="in the head")
    temperature: float = Field(0.07, gt=0, description="of InfoNCE; the first one, where it is learned")
    cache: Path = Field(Path("runs/cache"), description="embeddings of the towers, and resized pictures")
