"""The manifest of a bundle: what it holds, what each file is worth, and the hash of every member."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer
from pydantic_core import PydanticCustomError

from conaclip_edge.bundle.members import MANIFEST, Member, Problem, Sha256
from conaclip_edge.config.base import Config, Growing
from conaclip_edge.errors import UserError
from conaclip_edge.models.certainty import LEAST_PICTURES, WIDEST
from conaclip_edge.runtime.open_tower import RUNTIMES
from conaclip_edge.runtime.tower import Executed

SCHEMA: Literal["conaclip-edge/bundle/1"] = "conaclip-edge/bundle/1"
GateSplit = Literal["val", "val + test", "val + train", "val + test + train"]
RecallTable = dict[str, dict[str, float]]  # {"t2i": {"1": %, "5": %, "10": %}, "i2t": {..}}


class Strict(Config):
    """Base of the manifest's parts: no key is ignored, no value is coerced."""

    model_config = ConfigDict(strict=True)


class Cosines(Strict):
    """Cosines of a file's embeddings to the float32 student's; those that are no numbers count as 0."""

    mean: float
    p1: float
    min: float


class Later(Strict):
    """Base of parts that got more keys: those of `later` are not written where None, so older manifests stay as are."""

    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {key: value for key, value in content.items() if key not in self.later or value is not None}


class Retrieval(Later):
    """Recall with exported files in place of the float32 student's towers.

    Attributes:
        recall: in percent.
        relative_recall: share of the student's mean recall that is left, in each direction.
        worse: queries of each direction that lost one of the hits at 1, 5 and 10.
        better: queries that gained one.
        interval_95: of the relative recall, pictures resampled; an older bundle has none.
    """

    later = ("interval_95",)

    recall: RecallTable
    relative_recall: dict[str, float]
    worse: dict[str, int]
    better: dict[str, int]
    interval_95: dict[str, tuple[float, float]] | None = None


class Gate(Later):
    """What one exported file gave on held-out pairs, run by itself.

    Attributes:
        dataset: name of the data set.
        fingerprint: of the data set.
        split: "val", or where val is small "val + test", or with "+ train" pictures that calibration did not see.
        pictures: how many.
        captions: how many; of data without captions, phrases of the tokenizer's words.
        executed: "native" by the platform's own runtime, "executor" by its code on another platform, or "reference" by
            our interpreter.
        host: machine and instruction sets that the file was run on; int8 kernels differ between them.
        cosine: to the float32 student.
        norm_error: largest distance of an embedding's length from 1.
        not_finite: embeddings that hold NaN or infinity.
        recall_student: recall in percent of the float32 student.
        alone: with this file, the other tower in float32; None of a text tower where there are no captions.
        pair: with both files of the target; None where there are no captions.
        golden: cosines on the bundle's golden vectors.
        found: what pictures were to find where there are no captions: embeddings of the same pictures, the teacher's
            or the float32 student's.
        chance: mean recall in percent of a random order; an older bundle has none.
        teacher_mean_recall: the teacher's on the same pictures, where the student's record has it.
        on_grids: cosine to the image tower as it was trained, on int8 grids; only of int8 files of such a tower.
    """

    later = ("found", "chance", "teacher_mean_recall", "on_grids")

    dataset: str
    fingerprint: str
    split: GateSplit
    pictures: int
    captions: int
    executed: Executed
    host: str
    cosine: Cosines
    norm_error: float
    not_finite: int
    recall_student: RecallTable
    alone: Retrieval | None
    pair: Retrieval | None
    golden: Cosines
    found: Literal["teacher pictures", "student pictures"] | None = None
    chance: float | None = None
    teacher_mean_recall: float | None = None
    on_grids: Cosines | None = None

    @property
    def too_few(self) -> bool:
        """Whether the pictures are too few to tell a loss of recall."""
        measured = [one for one in (self.alone, self.pair) if one and one.interval_95]
        ends = [end for one in measured for end in (one.interval_95 or {}).values()]
        return self.pictures < LEAST_PICTURES or any(100 * (high - low) > WIDEST for low, high in ends)


class CalibrationSet(Later):
    """The train pairs that int8 scales were taken from.

    Attributes:
        sha256: of pictures and texts.
        pairs: inputs of each tower.
        pictures: of which `pairs` are views, where the data were few.
        texts_from: "phrases" where there are no captions.
    """

    later = ("pictures", "texts_from")

    sha256: Sha256
    pairs: int
    pictures: int | None = None
    texts_from: Literal["phrases"] | None = None


def _known_target(name: str) -> str:
    known = dict.fromkeys(runtime.target for runtime in RUNTIMES.values())
    if name not in known:
        raise PydanticCustomError("target", f"should be one of {', '.join(known)}")
    return name


TargetName = Annotated[str, AfterValidator(_known_target)]


Form = Literal["accelerator"]
"""What a file is made for where there is another one for the CPU; its name says so: `text.int8.accelerator.onnx`."""


class ExportedFile(Later):
    """One exported tower: a file, or a folder for Core ML and Core AI.

    Attributes:
        path: relative to the bundle.
        target: one that a runtime of this version opens: onnx, executorch, coreml or coreai.
        precision: int8, fp16 or fp32.
        tower: image or text.
        backend: what runs it on the device.
        size: bytes.
        float_size: bytes of the tower's float32 parameters, embedding table included.
        settings: the rest of the export's settings.
        notes: what the exporter reports.
        calibration: None where nothing had to be calibrated.
        gate: its measured worth.
        form: "accelerator" for the file that accelerators of phones take, beside the one for the CPU; else None.
    """

    later = ("form",)

    path: str
    target: TargetName
    precision: Literal["int8", "fp16", "fp32"]
    tower: Literal["image", "text"]
    backend: str
    size: int
    float_size: int
    settings: dict[str, Any]
    notes: dict[str, Any]
    calibration: CalibrationSet | None
    gate: Gate
    form: Form | None = None


class Manifest(Strict, Growing):
    """Content of manifest.json.

    Attributes:
        name: of the student.
        embedding_space: embeddings compare only where this id is the same.
        embed_dim: length of an embedding.
        image_size: side of the picture input in pixels.
        context: largest number of ids of a text.
        vocab_size: ids are below it.
        eos_id: ends every text.
        pad_id: may follow it.
        fixed_length: every text has `context` ids, padded as tokenizer.json says; else left out of the file.
        licence: what the data may be used for; "" if the data set does not say.
        training: recipe, teacher, data and figures of the distillation; `adopted` for a model exported as it was.
        versions: of what made the golden vectors.
        files: the exported towers.
        members: every file of the bundle but this one.
        digest: sha256 of this document without the digest.
    """

    later: ClassVar[frozenset[str]] = frozenset({"fixed_length"})

    schema_: Literal["conaclip-edge/bundle/1"] = Field(alias="schema")
    name: str
    embedding_space: Sha256
    embed_dim: int = Field(gt=0)
    image_size: int = Field(gt=0)
    context: int = Field(gt=1)
    vocab_size: int = Field(gt=0)
    eos_id: int
    pad_id: int
    fixed_length: bool = False
    licence: str
    training: dict[str, Any]
    versions: dict[str, str]
    files: tuple[ExportedFile, ...] = ()
    members: dict[str, Member] = Field(default_factory=dict)
    digest: str = ""


def form_of(name: str) -> Form | None:
    """Return the form that the name of an exported file states."""
    return next((form for form in get_args(Form) if f".{form}." in name), None)


def digest_of(manifest: Manifest) -> str:
    """Hash a manifest without its digest."""
    content = manifest.model_dump(mode="json", by_alias=True, exclude={"digest"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def manifest_text(manifest: Manifest) -> str:
    """Write a manifest out: there is one text for one content."""
    return json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False) + "\n"


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest strictly.

    Raises:
        UserError: another schema, a missing, unknown or mistyped key, or a content that its digest does not fit.
    """
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "document"
        raise UserError(f"{where}: '{key}': {first['msg']}. A bundle of schema {SCHEMA} is needed.") from None
    if manifest.digest != digest_of(manifest) or manifest_text(manifest).encode() != data:
        raise UserError(f"{where} was changed after it was written: its digest does not fit. Export again.")
    return manifest


def read_manifest(bundle: Path) -> Manifest:
    """Read the manifest of a bundle; the files are not looked at."""
    return parse_manifest(manifest_bytes(bundle), str(bundle / MANIFEST))


def manifest_bytes(bundle: Path) -> bytes:
    """Return the bytes of a bundle's manifest: what a signature is about. A link or a pipe is not opened."""
    path = bundle / MANIFEST
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise UserError(f"{path} is a link, a pipe or the like; a bundle holds plain files only.")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"no bundle at {bundle}: it has no {MANIFEST}. Make one: conaclip-edge export") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}.") from error


def unlisted_files(manifest: Manifest) -> list[Problem]:
    """Name exported files that no member belongs to: they would run without having been hashed."""
    return [
        Problem("unlisted", file.path, "is an exported file of the manifest, but not among its members")
        for file in manifest.files
        if not any(name == file.path or name.startswith(f"{file.path}/") for name in manifest.members)
    ]
