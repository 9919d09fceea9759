"""What runs of one recipe share: the pairs, the teacher's answers, the student at its start, and what is made up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.graph import Term
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.pixel_cache import Reader, pixel_reader
from conaclip_edge.data.prefetch import default_workers
from conaclip_edge.data.preprocess import Preprocess
from conaclip_edge.data.split_sizes import SplitSizes, split_sizes
from conaclip_edge.data.synthetic import synthetic_pictures, synthetic_texts
from conaclip_edge.data.text_file import read_texts
from conaclip_edge.data.usable import usable_pictures
from conaclip_edge.distill.build_student import build_student, tokenizer_of
from conaclip_edge.distill.embeddings import TeacherPart
from conaclip_edge.distill.graph import expand, uses_teacher, without_pairs
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.inherit_towers import SAMPLES
from conaclip_edge.models.student.presets import larger_than_teacher, student_shape
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.ensemble import EnsembleTeacher
from conaclip_edge.models.teacher.load import load_teachers
from conaclip_edge.models.vocabulary_words import whole_words, words_or_letters
from conaclip_edge.system.files import sha256_text
from conaclip_edge.system.progress import say
from conaclip_edge.teacher_cache.several import cache_of
from conaclip_edge.teacher_cache.share import own_share
from conaclip_edge.teacher_cache.store import TeacherCache, text_embeddings

MOST_CORPUS_TEXTS = 10_000  # enough to tell what a data set is about
PHRASES = 12_000  # synthetic texts for data without texts, where the recipe asks for none
NOT_MEASURED = (
    "; recall of captions cannot be measured: on val stands how often a student's picture finds its teacher's."
)


@dataclass(frozen=True)
class SyntheticPictures:
    """Composed pictures: what the teacher says of them, and their pixels for the student."""

    cache: TeacherCache
    pixels: Reader


@dataclass(frozen=True)
class OtherTexts:
    """Texts of no picture, and the teacher's embeddings of them [texts, d].

    Attributes:
        texts: the recipe's own, then made-up phrases.
        embeddings: unit vectors, one per text.
        own: how many are the recipe's.
    """

    texts: list[str]
    embeddings: np.ndarray
    own: int


@dataclass(frozen=True)
class TrainingData:
    """What a run starts from; all of it but the student comes from caches that runs of one recipe share.

    Attributes:
        teacher: frozen.
        pairs: pictures and captions.
        cache: the teacher's embeddings of them, and which pictures can be used.
        student: at its start.
        tokenizer_json: the student's.
        pretrained: number of the student's parameters that start from other weights.
        pixels: the pictures at the student's size.
        captioned: train pictures whose captions the student may pair.
        unpaired: the other train pictures.
        synthetic_pictures: None where the recipe asks for none, or no term looks at the teacher.
        other_texts: None where the recipe has none, or no term looks at the teacher; for data without captions there
            always are some.
        terms: of the interaction graph, edge by edge; those that need pairs only where there are any.
        teacher_parts: which columns of the teacher's embeddings are whose, where there are several; empty for one.
    """

    teacher: Teacher
    pairs: Pairs
    cache: TeacherCache
    student: DualEncoder
    tokenizer_json: dict[str, Any]
    pretrained: int
    pixels: Reader
    captioned: np.ndarray
    unpaired: np.ndarray
    synthetic_pictures: SyntheticPictures | None
    other_texts: OtherTexts | None
    terms: tuple[Term, ...]
    teacher_parts: tuple[TeacherPart, ...] = ()

    @property
    def has_captions(self) -> bool:
        """Whether any picture has a caption; if not, recall cannot be measured."""
        return bool(self.cache.first_text[-1])

    @property
    def decodes(self) -> bool:
        """Whether pictures are decoded for every step: no file keeps them, and no frozen blocks saw them before."""
        made = self.synthetic_pictures
        kept = self.pixels.kept and (made is None or made.pixels.kept)
        return not (kept or self.student.image.frozen)

    def sources(self) -> dict[str, str]:
        """Return the fingerprints that a resumed run has to have in common."""
        found = {"data": self.pairs.fingerprint, "teacher weights": self.teacher.fingerprint}
        own = self.other_texts.texts[: self.other_texts.own] if self.other_texts else []
        return found | ({"texts": sha256_text(*own)} if own else {})


def training_data(config: DistillConfig) -> TrainingData:
    """Read the data, let the teacher and the resizing run where their caches lack something, and build the student."""
    terms = expand(config.graph)  # a wrong graph, student or data set is an error before any work
    _check_steps(config)
    share = own_share()
    teacher = load_teachers(config.all_teachers).compute_on(share.device, config.teacher_precision)
    pairs = read_pairs(config.data, captions_needed=False)
    sizes = split_sizes(pairs)
    say(f"data: {pairs.name}: {sizes}.")
    own_texts = read_texts(config.texts, "texts") if config.texts else []
    if not (sizes.captioned["train"] and config.data.labelled):
        terms = _terms_without_pairs(config, terms, pairs.name, sizes, len(own_texts))
    learns_from_teacher = uses_teacher(terms)
    views, max_pixels = config.train.teacher_views, config.data.max_pixels
    # a graph without the teacher reads no embedding, but which pictures decode is known from the same pass
    workers = default_workers(share.parts) if config.train.workers is None else config.train.workers
    cache = cache_of(pairs, teacher, config.cache, views, config.data.max_bad, max_pixels, workers)
    captioned, unpaired = divide(config, pairs, cache)
    usable_rows(pairs, cache, "val")
    own = np.zeros((0, teacher.embed_dim), np.float32)
    if own_texts:
        own = text_embeddings(teacher, own_texts, config.cache, "texts")
    corpus = [text for row in pairs.rows("train") for text in pairs.captions[row]] + own_texts
    embedded = corpus_embeddings(pairs, cache, own) if config.student.vocab.near and corpus else None
    # building a teacher or filling a cache draws random numbers too: a first run must begin like the second
    torch.manual_seed(config.seed)
    student, tokenizer_json, pretrained = build_student(
        config.student, teacher, corpus, config.cache, embedded, lambda: _some_pictures(config, pairs, cache)
    )
    if larger := larger_than_teacher(config.student.preset, number_of(student), number_of(teacher)):
        say(f"warning: {larger}")
    preprocess = Preprocess.of(student.config.image)
    pixels = pixel_reader(pairs, np.flatnonzero(cache.usable), preprocess, views, config.cache, max_pixels)
    pictures, texts = None, None
    if learns_from_teacher and config.synthetic.pictures:
        pictures = _compose_pictures(config, teacher, pairs, cache, preprocess)
    if learns_from_teacher and own_texts:
        texts = OtherTexts(own_texts, own, len(own_texts))
    if learns_from_teacher and (count := config.synthetic.texts or (0 if corpus else PHRASES)):
        tokenizer = tokenizer_of(tokenizer_json, student.config.text.context)
        words = whole_words(tokenizer) if corpus else words_or_letters(tokenizer)
        phrases = synthetic_texts(corpus, words, count)
        made_up = text_embeddings(teacher, phrases, config.cache, "synthetic texts")
        texts = OtherTexts(own_texts + phrases, np.concatenate([own, made_up]), len(own_texts))
    teacher.to("cpu")  # all that it says is known, and the student needs the room
    return TrainingData(
        *(teacher, pairs, cache, student, tokenizer_json, pretrained, pixels, captioned, unpaired, pictures, texts),
        terms=terms,
        teacher_parts=_teacher_parts(config, teacher),
    )


def _teacher_parts(config: DistillConfig, teacher: Teacher) -> tuple[TeacherPart, ...]:
    """Say which columns of an ensemble's embeddings are whose, and at which temperature; () of one teacher."""
    if not isinstance(teacher, EnsembleTeacher):
        return ()
    given = (None, *(one.temperature for one in config.teachers))
    return tuple(
        TeacherPart(one.embed_dim, own or one.temperature) for one, own in zip(teacher.members, given, strict=True)
    )


def _check_steps(config: DistillConfig) -> None:
    """Refuse a training of nothing, and int8 steps of a student that has no int8 form."""
    kind = student_shape(config.student).image.kind
    if not config.train.all_steps:
        raise UserError("train.steps is 0 and there is no train.qat, so nothing would be trained. Set one of them.")
    if config.train.qat and kind != "mobile":
        raise UserError(
            f"train.qat trains a mobile image tower, and the student's is '{kind}'. Leave train.qat out, or choose "
            "student.preset=mobile or demo."
        )


def number_of(model: DualEncoder | Teacher) -> int:
    """Return the number of parameters of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def _terms_without_pairs(
    config: DistillConfig, terms: tuple[Term, ...], name: str, sizes: SplitSizes, own_texts: int
) -> tuple[Term, ...]:
    """Return the terms that data without pairs can teach, and say on stderr what that means for the run."""
    captions = sizes.captioned["train"] > 0
    why = "data.labelled is 0" if captions else f"data set '{name}' has no captions"
    if sizes.has_captions and not captions:
        why += " in its train split"
    kept = without_pairs(terms, why)
    vocabulary, texts = config.student.vocab, config.synthetic.texts or (0 if captions or own_texts else PHRASES)
    if vocabulary.keep == "corpus" and not (vocabulary.frequent or captions or own_texts):
        raise UserError(
            f"{why} to take the vocabulary from. Set student.vocab.keep=all, or student.vocab.frequent to a number of "
            "pieces, or name a file of texts."
        )
    sources = ["the pictures", *["their captions apart"] * captions]
    sources += [f"{own_texts:,} texts of {config.texts}"] * bool(own_texts)
    sources += [f"{texts:,} phrases of the tokenizer's words"] * bool(texts)
    dropped = ", ".join(f"{term.edge}/{term.loss}" for term in terms if term not in kept)
    say(
        f"data: {why}. The student learns the teacher's answers for {', for '.join(sources[:-1])} and for {sources[-1]}"
        + (f"; the terms that need pairs are left out ({dropped})" if dropped else "")
        + ("." if sizes.has_captions else NOT_MEASURED)
    )
    return kept


def divide(config: DistillConfig, pairs: Pairs, cache: TeacherCache) -> tuple[np.ndarray, np.ndarray]:
    """Divide the usable train pictures into those whose captions may be paired and the rest."""
    train = usable_rows(pairs, cache, "train")
    with_caption = np.diff(cache.first_text)[train] > 0
    # the same pictures stay captioned whatever the run's seed, so that runs with other seeds compare
    order = np.random.default_rng(29).permutation(train[with_caption])
    count = max(2, round(len(order) * config.data.labelled)) if config.data.labelled else 0
    if count and len(order) == 1:
        raise UserError(
            f"data set '{pairs.name}' has 1 usable train picture with captions; a batch needs 2. Add captions, or do "
            "without pairs: data.labelled=0."
        )
    return np.sort(order[:count]), np.sort(np.concatenate([order[count:], train[~with_caption]]))


def usable_rows(pairs: Pairs, cache: TeacherCache, split: str) -> np.ndarray:
    """Return the usable pictures of a split, with or without captions.

    Raises:
        UserError: there is none, or no caption is among them while others of the data set have captions.
    """
    rows = pairs.rows(split)
    rows = np.asarray(rows[cache.usable[rows]])
    captions = np.diff(cache.first_text)[rows].any()
    if not len(rows) or (cache.first_text[-1] and not captions):
        raise UserError(f"split '{split}' of data set '{pairs.name}' has no usable picture with a caption.")
    return rows


def corpus_embeddings(pairs: Pairs, cache: TeacherCache, own: np.ndarray) -> np.ndarray:
    """Return the teacher's embeddings of train captions and own texts, of every so many if there are very many.

    Args:
        pairs: the data set.
        cache: of its embeddings.
        own: unit vectors of the recipe's own texts [n, d].
    """
    rows = pairs.rows("train")
    texts = np.concatenate([np.arange(cache.first_text[row], cache.first_text[row + 1]) for row in rows])
    captions = cache.texts(texts[:: max(1, len(texts) // MOST_CORPUS_TEXTS)])
    return np.concatenate([captions, own[:: max(1, len(own) // MOST_CORPUS_TEXTS)]]) if len(own) else captions


def _some_pictures(config: DistillConfig, pairs: Pairs, cache: TeacherCache) -> list[Image]:
    """Decode a few train pictures, the same ones in every run."""
    rows = pairs.rows("train")
    rows = rows[cache.usable[rows]]
    few = rows[:: max(1, len(rows) // SAMPLES)][:SAMPLES]
    return [picture for _, _, picture in usable_pictures(pairs, few.tolist(), config.data.max_pixels, {})]


def _compose_pictures(
    config: DistillConfig, teacher: Teacher, pairs: Pairs, cache: TeacherCache, preprocess: Preprocess
) -> SyntheticPictures:
    """Compose pictures of the usable train pictures and ask the teacher about them."""
    rows = pairs.rows("train")
    pictures = synthetic_pictures(pairs, rows[cache.usable[rows]], config.synthetic.pictures, config.data.max_pixels)
    known = cache_of(pictures, teacher, config.cache, 1, config.data.max_bad)
    return SyntheticPictures(known, pixel_reader(pictures, np.flatnonzero(known.usable), preprocess, 1, config.cache))
