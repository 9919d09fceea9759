"""Held-out pairs, which decide whether an exported file passes, with the float32 student's embeddings of them."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from conaclip_edge.bundle.manifest import GateSplit
from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import Preprocess, to_pixels
from conaclip_edge.data.usable import reasons, usable_pictures
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.evaluation.encoders import open_teacher
from conaclip_edge.evaluation.recall import Ranks, ranks
from conaclip_edge.evaluation.torch_encoders import embed_ids, embed_pixels
from conaclip_edge.export.quantize.calibration import MOST_IDS
from conaclip_edge.models.certainty import LEAST_PICTURES, teacher_mean_recall
from conaclip_edge.models.student.checkpoint import Student
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.int8_student import int8_student
from conaclip_edge.models.vocabulary_words import vocabulary_phrases
from conaclip_edge.system.progress import say, track

ENOUGH = 100  # pictures of several splits, where val alone is too small
PHRASES = 100  # texts of data without captions
MOST_CALIBRATED = 1000  # phrases that calibration may see; the gate takes others
SPLIT: Literal["val"] = "val"  # calibration sees train, reports are made on test: neither may decide what passes
_SEED = 12
_BATCH = 32


@dataclass(frozen=True)
class Targets:
    """What pictures are to find where there are no captions: embeddings of the same pictures, unit vectors [P, d]."""

    embeddings: np.ndarray
    of: Literal["teacher pictures", "student pictures"]


@dataclass(frozen=True)
class HeldOut:
    """Pairs that the student was not trained on, with the float32 student's embeddings.

    Attributes:
        dataset: name of the data set.
        fingerprint: of the data set.
        pixels: uint8 [P, 3, size, size].
        ids: int32 ids of each caption, unpadded.
        caption_to_image: picture position of each caption [C].
        pictures: float32 unit vectors [P, d].
        texts: float32 unit vectors [C, d].
        ranks: the float32 student's; without captions of its pictures among the targets.
        examples: names and encoded bytes of some of the pictures, for the golden vectors.
        left_out: pictures that cannot be used, as "key: reason".
        split: that the pictures are of, or several with " + " between.
        targets: of data without captions; the texts are phrases of the tokenizer's words then.
        teacher_mean_recall: the teacher's on the same pictures, where the student's record has it.
        on_grids: float32 unit vectors [P, d] of an image tower that was trained to compute in int8, as it was trained;
            `pictures` are those of its float weights then.
    """

    dataset: str
    fingerprint: str
    pixels: np.ndarray
    ids: tuple[np.ndarray, ...]
    caption_to_image: np.ndarray
    pictures: np.ndarray
    texts: np.ndarray
    ranks: Ranks
    examples: tuple[tuple[str, bytes], ...]
    left_out: tuple[str, ...] = ()
    split: GateSplit = SPLIT
    targets: Targets | None = None
    teacher_mean_recall: float | None = None
    on_grids: np.ndarray | None = None


def held_out(
    student: Student,
    pairs: Pairs,
    count: int,
    data: DataConfig,
    examples: int = 3,
    split: str = SPLIT,
    calibrated: Collection[int] = (),
) -> HeldOut:
    """Draw captioned pictures of a split, the same ones every time, and embed them in float32.

    Where val has fewer than `LEAST_PICTURES`, those of test are taken too, and of fewer than `ENOUGH` so many train
    pictures that calibration did not see. Of data without any caption, pictures are drawn and phrases are the texts.

    Args:
        student: the checkpoint.
        pairs: the data that it was distilled on.
        count: pictures at most.
        data: gives max_pixels and max_bad.
        examples: pictures whose bytes are kept.
        split: that gates an export, or another one that was held out.
        calibrated: positions of the pictures that calibration saw.

    Raises:
        UserError: the split has no picture, none with a caption though others have some, or too many broken ones.
    """
    labelled = any(len(captions) for captions in pairs.captions)
    fit = _rows(pairs, split, labelled)
    if not fit:
        raise UserError(f"split '{split}' of data set '{pairs.name}' has no captions to gate an export with.")
    chosen = sorted(np.random.default_rng(_SEED).permutation(fit)[:count].tolist())
    splits: GateSplit = SPLIT  # of another split that is asked for, no gate is made
    if split == SPLIT and len(fit) < min(count, LEAST_PICTURES):
        chosen, splits = _more(pairs, fit, min(count, ENOUGH), labelled, calibrated)
        say(f"gate: {len(fit)} pictures of val are few; it runs on {len(chosen)} of {splits}.")
    preprocess = Preprocess.of(student.model.config.image)
    pixels: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    caption_to_image: list[int] = []
    kept: list[tuple[str, bytes]] = []
    left_out: dict[str, str] = {}
    teacher = None if labelled else open_teacher_of(student)
    seen_by_teacher: list[np.ndarray] = []
    rows = track(chosen, "reading held-out pictures")
    for row, encoded, picture in usable_pictures(pairs, rows, data.max_pixels, left_out, data.max_bad):
        if teacher:
            seen_by_teacher.append(teacher.embed_images([picture])[0])
        if len(kept) < examples:
            kept.append((f"held-out-{len(kept)}.{_suffix(encoded)}", encoded))
        caption_to_image += [len(pixels)] * len(pairs.captions[row])
        pixels.append(to_pixels(picture, preprocess))
        ids += [np.asarray(student.tokenizer.ids(text), dtype=np.int32) for text in pairs.captions[row]]
    stacked = np.stack(pixels)
    pictures = _embed_pixels(student.model, "float32 model", stacked)
    targets = None
    if not labelled:
        phrases = vocabulary_phrases(student.tokenizer, max(PHRASES, len(pixels)), MOST_CALIBRATED)
        ids = [np.asarray(student.tokenizer.ids(text), dtype=np.int32) for text in phrases]
        targets = (
            Targets(np.stack(seen_by_teacher), "teacher pictures") if teacher else Targets(pictures, "student pictures")
        )
    texts = _embed_unpadded(student, ids)
    own = np.arange(len(pictures))
    ranked = (
        ranks(pictures, targets.embeddings, own) if targets else ranks(pictures, texts, np.asarray(caption_to_image))
    )
    return HeldOut(
        pairs.name,
        pairs.fingerprint,
        stacked,
        tuple(ids),
        np.asarray(caption_to_image),
        pictures,
        texts,
        ranked,
        tuple(kept),
        tuple(reasons(left_out)),
        splits,
        targets,
        teacher_mean_recall(student.training, pairs.fingerprint, splits, len(pictures)),
        _embed_on_grids(student, stacked),
    )


def _rows(pairs: Pairs, split: str, labelled: bool) -> list[int]:
    return [int(row) for row in pairs.rows(split) if not labelled or len(pairs.captions[row])]


def _more(
    pairs: Pairs, chosen: list[int], count: int, labelled: bool, calibrated: Collection[int]
) -> tuple[list[int], GateSplit]:
    """Add pictures of test, then of train that calibration did not see, to those of val; returns rows and splits."""
    rows, taken = list(chosen), {str(SPLIT)}
    for split in ("test", "train"):
        if len(rows) < count and split in pairs.splits:
            fit = [row for row in _rows(pairs, split, labelled) if row not in calibrated]
            more = np.random.default_rng(_SEED).permutation(fit)[: count - len(rows)].tolist()
            rows += [int(row) for row in more]
            taken |= {split} if more else set()
    return sorted(rows), next(name for name in get_args(GateSplit) if set(name.split(" + ")) == taken)


def open_teacher_of(student: Student) -> Encoder | None:
    """Open the teacher that a student's record names; None, and a line on stderr, if it is not there."""
    source = str(student.training.get("recipe", {}).get("teacher") or "")
    try:
        if source:
            return open_teacher(source)
    except UserError as error:
        say(f"gate: the teacher cannot be asked ({error}) The student's own pictures stand in for its answers.")
    return None


def _embed_pixels(model: DualEncoder, label: str, pixels: np.ndarray) -> np.ndarray:
    starts = track(range(0, len(pixels), _BATCH), f"{label} embeds pictures")
    return embed_pixels(model, (pixels[start : start + _BATCH] for start in starts))


def _embed_on_grids(student: Student, pixels: np.ndarray) -> np.ndarray | None:
    if student.quantization is None:
        return None
    return _embed_pixels(int8_student(student.model, student.quantization.image), "int8 model", pixels)


def _embed_unpadded(student: Student, ids: list[np.ndarray]) -> np.ndarray:
    """Embed texts unpadded, those of one length together."""
    lengths = np.asarray([len(text) for text in ids])
    groups = [
        part
        for length in sorted(set(lengths.tolist()))
        for alike in [np.flatnonzero(lengths == length)]
        for part in np.array_split(alike, -(-len(alike) * length // MOST_IDS))
    ]
    batches = (np.stack([ids[text] for text in group]) for group in track(groups, "float32 student embeds texts"))
    grouped = embed_ids(student.model, batches)
    embeddings = np.empty_like(grouped)
    embeddings[np.concatenate(groups)] = grouped
    return embeddings


def _suffix(encoded: bytes) -> str:
    """Name the format of encoded bytes that Pillow could read."""
    return str(Image.open(io.BytesIO(encoded)).format).lower().replace("jpeg", "jpg")
