"""How large a teacher is, and how long it and a student take on this machine: a short trial of each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from PIL import Image

from conaclip_edge.config.model import ModelConfig
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.system.result import Result

TRIAL = 8  # pictures and texts
PHRASE_IDS = 8  # of a made-up phrase of some words
MOST_TEXTS = 500  # captions that are tokenised to see what the teacher makes of them


class TeacherSummary(Result):
    """A teacher.

    Attributes:
        source: folder or hub name.
        made: False if it still has to be made by train-teacher.
        type: of the model.
        parameters: of both towers.
        embed_dim: width of the embedding, and so of the student's.
        context: largest number of ids of a text.
        vocabulary: rows of the token table.
        text_width: of the token table; a student of the same width can start from it.
        gives_text_layers: whether it is a CLIP, whose text layers a student of the same width starts from.
        picture_seconds: for a picture.
        text_seconds: for a text.
        caption_ids: of a long caption (all but one of twenty have no more), to which the texts of a step are padded.
        cut_captions: share of the captions that are longer than the context.
        ids_per_letter: of the captions in scripts other than Latin; 0 where there are none.
    """

    source: str
    made: bool
    type: str
    parameters: int
    embed_dim: int
    context: int
    vocabulary: int
    text_width: int
    gives_text_layers: bool
    picture_seconds: float
    text_seconds: float
    caption_ids: int
    cut_captions: float
    ids_per_letter: float


def try_teacher(source: str, made: bool, captions: Sequence[str]) -> TeacherSummary:
    """Open a teacher and let it embed a few pictures and texts.

    Args:
        source: folder or hub name.
        made: False takes the packaged towers that the demo's teacher is made of.
        captions: of the data.

    Raises:
        UserError: it cannot be opened.
    """
    teacher: Teacher
    if made:
        teacher = load_teacher(source)
        embed_dim = teacher.embed_dim
    else:
        from conaclip_edge.models.teacher.packaged_towers import PretrainedTowers

        teacher = PretrainedTowers()
        embed_dim = teacher.token_table().shape[1]
    pictures = [Image.new("RGB", (320, 240), (40 * number, 90, 200)) for number in range(TRIAL)]
    texts = [*captions[:TRIAL], *("a picture of something" for _ in range(TRIAL))][:TRIAL]
    long, cut, per_letter = _captions_in(teacher, captions[:MOST_TEXTS])
    return TeacherSummary(
        source=source,
        made=made,
        type=_type(teacher),
        parameters=sum(parameter.numel() for parameter in teacher.parameters()),
        embed_dim=embed_dim,
        context=teacher.context,
        vocabulary=teacher.token_table().shape[0],
        text_width=teacher.token_table().shape[1],
        gives_text_layers=bool(teacher.text_layers()),
        picture_seconds=_seconds(lambda: teacher.embed_pictures(pictures)) / TRIAL,
        text_seconds=_seconds(lambda: teacher.embed_texts(texts)) / TRIAL,
        caption_ids=long,
        cut_captions=cut,
        ids_per_letter=per_letter,
    )


def step_seconds(shape: ModelConfig, batch: int, texts: int, ids_per_text: int, freeze_blocks: int) -> float:
    """Time a training step of a student with random weights: forward and backward of both towers.

    Args:
        shape: of the student.
        freeze_blocks: first blocks of the image tower that run once, not in every step.
        batch: pictures of the recipe's step; a few are timed.
        texts: of the recipe's step.
        ids_per_text: to which they are padded.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    student = DualEncoder(shape).train().to(device)
    few, some = min(batch, TRIAL if device == "cpu" else batch), min(texts, 2 * TRIAL)
    pictures = torch.rand(few, 3, shape.image.size, shape.image.size, device=device)
    ids = torch.full((some, min(ids_per_text, shape.text.context)), shape.text.eos_id, device=device)
    # a text ends at its first EOS, which stands last here
    ids[:, :-1] = torch.randint(0, max(1, shape.text.eos_id), (some, ids.shape[1] - 1), device=device)

    if freeze_blocks:
        student.image.backbone.freeze(freeze_blocks)
    with torch.no_grad():
        features = student.image.first(pictures)
    image = _seconds(lambda: student.image.rest(features).square().mean().backward())
    return image * batch / few + _seconds(lambda: student.text(ids).square().mean().backward()) * texts / some


def device_name() -> str:
    """Return what accelerate trains on here."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "Apple GPU" if torch.backends.mps.is_available() else "CPU"


def _seconds(call: Callable[[], object]) -> float:
    """Return the median time of three calls after one that warms up."""
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def _type(teacher: Teacher) -> str:
    packaged = teacher.kind in ("joined teacher", "packaged towers")
    return "EfficientNet-Lite0 and MiniLM, joined" if packaged else teacher.kind


def _captions_in(teacher: Teacher, captions: Sequence[str]) -> tuple[int, float, float]:
    """Return ids of a long caption, the share beyond the context, and ids per letter in scripts other than Latin."""
    if not captions:
        return PHRASE_IDS, 0.0, 0.0
    tokenizer = TextTokenizer(teacher.tokenizer_file, teacher.context, ignore_padding=True)
    lengths = sorted(len(tokenizer.ids(text)) for text in captions)
    long = max(PHRASE_IDS, lengths[int(0.95 * (len(lengths) - 1))])
    cut = sum(tokenizer.cuts(text) for text in captions) / len(captions)
    # from Greek on, no letter is Latin but for a few blocks of odd ones
    others = [text for text in captions if sum(letter > "\u036f" for letter in text) > len(text) / 2]
    letters = sum(sum(letter.isalpha() for letter in text) for text in others)
    ids = sum(len(tokenizer.ids(text)) - 2 for text in others)
    return long, cut, ids / letters if letters else 0.0
