"""The choices of a recipe: a student, a budget and a vocabulary that fit data, teacher and machine."""

from __future__ import annotations

import math

from conaclip_edge.config.distill import QatConfig
from conaclip_edge.config.model import ModelConfig
from conaclip_edge.models.student.presets import PRESETS
from conaclip_edge.setup.count_operations import Counts, image_counts, text_counts
from conaclip_edge.setup.data_summary import DataSummary
from conaclip_edge.setup.recipe.measure import TeacherSummary
from conaclip_edge.system.result import Result

FREQUENT = 10_000  # pieces that are kept beside those of the captions: a query has words that no caption has
LEAST_FREQUENT = 2000  # of these, however slow the teacher is
FROZEN = 5  # blocks, the stem and the first three stages: of few pictures they learn nothing that ImageNet lacks
FEW = 2000  # train pictures; below, the first blocks are frozen
HOUR = 3600.0  # of training that a machine without a GPU is asked for at most
TEACHER_SECONDS = 300.0  # that the extra views, the made-up texts and the vocabulary may each take the teacher


class Plan(Result):
    """The choices of a recipe.

    Attributes:
        preset: of the student.
        image_size: side of the picture in pixels; None leaves the preset's.
        context: largest number of ids of a text; None leaves the preset's.
        freeze_blocks: first blocks that keep their ImageNet weights.
        frequent: first ids that are kept beside the captions' pieces.
        parameters: of the student, about.
        pictures: train pictures that it learns from.
        batch_size: pictures per step.
        steps: of the training.
        int8_steps: after them, in which the image tower learns to compute in int8.
        views: augmentations per picture.
        unpaired: share of a batch without captions.
        synthetic_texts: made-up texts that the teacher embeds.
        unpaired_texts: of these per step; None leaves the default.
        eval_every: steps between two looks at val.
        max_bad: share of broken pictures that is allowed.
        bf16: whether the training computes in bfloat16.
        labelled: whether any picture has a caption.
    """

    preset: str
    image_size: int | None
    context: int | None
    freeze_blocks: int
    frequent: int
    parameters: int
    pictures: int
    batch_size: int
    steps: int
    int8_steps: int
    views: int
    unpaired: float
    synthetic_texts: int
    unpaired_texts: int | None
    eval_every: int
    max_bad: float
    bf16: bool
    labelled: bool

    def shape(self, embed_dim: int) -> ModelConfig:
        """Return the shape of the student."""
        return _shape(self.preset, self.image_size, self.context, self.frequent, embed_dim)

    def texts_per_step(self) -> int:
        """Return how many texts a step has."""
        return (self.batch_size if self.labelled else 0) + (self.unpaired_texts or 0)


def choose(data: DataSummary, teacher: TeacherSummary, gpu: bool) -> Plan:
    """Choose everything but the number of steps by time, see `within`.

    Args:
        data: what the student learns from.
        teacher: whom it learns from.
        gpu: whether it trains on one.
    """
    captioned = data.captioned_splits["train"]
    train = data.splits["train"]
    pictures = captioned or train
    frequent = min(FREQUENT, teacher.vocabulary)
    # a student of more than half of its teacher is no small one
    preset = "mobile" if 2 * _parameters(_shape("mobile", None, None, frequent, 512)) <= teacher.parameters else "demo"
    size = None if gpu or preset == "demo" else 160
    context = teacher.context if teacher.context < PRESETS[preset].text.context else None
    if _embeds_vocabulary(preset, teacher):
        frequent = min(frequent, max(LEAST_FREQUENT, _round(_texts_in_time(teacher))))
    most = 256 if gpu else 64 if preset == "mobile" else 128
    batch = min(most, 2 ** int(math.log2(max(4, 0.8 * train))))
    share = 0.0 if not captioned or train == captioned else min(0.5, round(1 - captioned / train, 2))
    texts = _synthetic_texts(data, teacher)
    epochs = 40 if pictures < 1000 else 30 if pictures < 20_000 else 15
    steps = _round(max(200, math.ceil(epochs * train / batch)))
    return Plan(
        preset=preset,
        image_size=size,
        context=context,
        freeze_blocks=FROZEN if train < FEW else 0,
        frequent=frequent,
        parameters=_parameters(_shape(preset, size, context, frequent, teacher.embed_dim)),
        pictures=train,
        batch_size=batch,
        steps=steps,
        int8_steps=QatConfig().steps,
        views=_views(data, teacher),
        unpaired=share,
        synthetic_texts=texts,
        # the texts of a step are most of its time where the text tower is mobile's and no GPU is there
        unpaired_texts=min(256 if gpu or preset == "demo" else 64, texts) if texts else None,
        eval_every=max(1, steps // 4),
        max_bad=0.01 if data.broken_share <= 0.005 else round(min(1.0, 1.5 * data.broken_share + 0.01), 2),
        bf16=gpu,
        labelled=captioned > 0,
    )


def within(plan: Plan, step: float, gpu: bool) -> Plan:
    """Cut the float steps so that a machine without a GPU ends all steps in an hour, but never below 100.

    Args:
        plan: the choices.
        step: seconds of a step.
        gpu: whether it trains on one; then nothing is cut.
    """
    in_an_hour = int(HOUR / max(step, 1e-6)) - plan.int8_steps
    steps = plan.steps if gpu else min(plan.steps, max(100, in_an_hour))
    return plan.model_copy(update={"steps": steps, "eval_every": max(1, steps // 4)})


class Cost(Result):
    """What a recipe takes on this machine, about.

    Attributes:
        teacher_seconds: until the teacher has embedded pictures and texts; later runs find it in the cache.
        training_seconds: of the steps.
        memory_bytes: of the process at most.
        disk_bytes: of the cache.
    """

    teacher_seconds: float
    training_seconds: float
    memory_bytes: int
    disk_bytes: int


def cost_of(plan: Plan, data: DataSummary, teacher: TeacherSummary, step: float) -> Cost:
    """Estimate time, memory and disk from what a few pictures took."""
    pictures = data.pictures * plan.views
    vocabulary = plan.frequent if _embeds_vocabulary(plan.preset, teacher) else 0
    texts = data.captions + plan.synthetic_texts + vocabulary
    shape = plan.shape(teacher.embed_dim)
    image = image_counts(shape.image, shape.embed_dim) or Counts(0, 0, 0)
    text = text_counts(shape.text, shape.embed_dim, teacher.caption_ids)
    kept = plan.batch_size * image.activations + plan.texts_per_step() * text.activations
    # weights, gradients and the two moments of Adam; Python with PyTorch and transformers is the rest
    memory = 700e6 + 4 * (teacher.parameters + 4 * plan.parameters + 1.5 * kept)
    disk = 2 * teacher.embed_dim * (pictures + texts) + 3 * shape.image.size**2 * pictures
    return Cost(
        teacher_seconds=round(pictures * (teacher.picture_seconds + 0.005) + texts * teacher.text_seconds, 1),
        training_seconds=round((plan.steps + plan.int8_steps) * step, 1),
        memory_bytes=int(memory),
        disk_bytes=disk,
    )


def _shape(preset: str, size: int | None, context: int | None, vocabulary: int, embed_dim: int) -> ModelConfig:
    shape = PRESETS[preset]
    text = {"vocab_size": vocabulary, "eos_id": vocabulary - 1, "pad_id": vocabulary - 1}
    return ModelConfig(
        image=shape.image.model_copy(update={"size": size} if size else {}),
        text=shape.text.model_copy(update=text | ({"context": context} if context else {})),
        embed_dim=embed_dim,
    )


def _parameters(shape: ModelConfig) -> int:
    image = image_counts(shape.image, shape.embed_dim)
    return (image.parameters if image else 0) + text_counts(shape.text, shape.embed_dim).parameters


def _synthetic_texts(data: DataSummary, teacher: TeacherSummary) -> int:
    """Return how many made-up texts the teacher embeds in some minutes; none where there are captions enough."""
    if data.captions > 20_000:
        return 0
    return max(500, min(12_000, _round(_texts_in_time(teacher))))


def _embeds_vocabulary(preset: str, teacher: TeacherSummary) -> bool:
    """Tell whether a student's token table is what the teacher says of each piece; else it is copied from a CLIP's."""
    return not (teacher.gives_text_layers and teacher.text_width == PRESETS[preset].text.width)


def _texts_in_time(teacher: TeacherSummary) -> int:
    return int(TEACHER_SECONDS / max(teacher.text_seconds, 1e-6))


def _views(data: DataSummary, teacher: TeacherSummary) -> int:
    """Return how many views of each picture help and take the teacher some minutes at most."""
    wanted = 4 if data.pictures < 1000 else 2 if data.pictures < 5000 else 1
    return max(1, min(wanted, int(TEACHER_SECONDS / max(1e-6, data.pictures * teacher.picture_seconds))))


def _round(count: int) -> int:
    """Round a number up to two digits."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step
