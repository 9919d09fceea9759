"""The candidates of a benchmark: the files that a bundle ships, and what they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from conaclip_edge.benchmarks.measure.models import Spec
from conaclip_edge.benchmarks.schema.row import Sizes, Tower
from conaclip_edge.benchmarks.schema.row_ids import CLIP, PLAIN, STUDENT, TEACHER
from conaclip_edge.bundle.card.accelerators import Accelerator, accelerators_of
from conaclip_edge.bundle.manifest import ExportedFile, Manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import deflated_bytes
from conaclip_edge.system.progress import say

_TARGETS = {"onnx": "ONNX", "executorch": "ExecuTorch", "coreml": "Core ML", "coreai": "Core AI"}
# a way out of errors about what a bundle is compared with
_ALONE = "Where there is only the bundle, compare with nothing: --set comparison=[]"


@dataclass(frozen=True)
class Candidate:
    """One row before it is measured.

    Attributes:
        spec: how to open it; its `row` is the row's id.
        sizes: bytes of its weights as they ship; None of a plain export that could not be made.
        label, model, target, precision, format, weights, notes, accelerators: as in the report's `Row`.
    """

    spec: Spec
    label: str
    model: str
    target: Literal["onnx", "executorch", "coreml", "coreai", "torch"]
    precision: Literal["int8", "fp16", "fp32"]
    format: str
    sizes: Sizes | None
    weights: Literal["trained", "random"] = "trained"
    notes: tuple[str, ...] = ()
    accelerators: dict[Tower, tuple[Accelerator, ...]] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether any of it can be run here."""
        return self.spec.kind != "files" or bool(self.spec.files)


def shipped(bundle: Path, manifest: Manifest, suite: BenchmarkConfig) -> list[Candidate]:
    """List the pairs of files of a bundle that a suite asks for, in the order of its targets.

    Raises:
        UserError: the bundle has none of them.
    """
    pairs: dict[tuple[Any, str, str, str], dict[Tower, ExportedFile]] = {}
    formed: dict[tuple[str, str, str, str], dict[Tower, ExportedFile]] = {}
    for file in manifest.files:
        if file.target in suite.targets and file.precision in suite.precisions:
            kept = formed if file.form else pairs
            suffix = Path(file.path).suffix
            kept.setdefault((file.target, file.precision, file.backend, suffix), {})[file.tower] = file
    if not pairs:
        there = sorted({f"{file.target} {file.precision}" for file in manifest.files})
        raise UserError(
            f"bundle {bundle} has none of the suite's targets ({', '.join(suite.targets)}) and precisions "
            f"({', '.join(suite.precisions)}); it has {', '.join(there) or 'no files'}."
        )
    found = []
    in_order = sorted(pairs.items(), key=lambda pair: suite.targets.index(pair[0][0]))
    for (target, precision, backend, suffix), files in in_order:
        extra = {".ort": "ort"}.get(suffix) or (backend if (target, backend) == ("executorch", "coreml") else "")
        name = f"{target}-{precision}" + (f"-{extra}" if extra else "")
        label = f"{_TARGETS[target]} {precision}" + (f" ({'.ort' if extra == 'ort' else extra})" if extra else "")
        paths = {tower: bundle / file.path for tower, file in files.items()}
        spec = Spec(name, "files", str(bundle), paths.get("image"), paths.get("text"), shipped=True)
        sizes = _sizes({tower: file.size for tower, file in files.items()}, paths)
        kind: Any = {"target": target, "precision": precision, "format": suffix.removeprefix(".")}
        if suffix != ".ort":  # of the same nodes as its .onnx
            made_for = formed.get((target, precision, backend, suffix), {})
            covered = {tower: accelerators_of(file) for tower, file in (files | made_for).items()}
            kind["accelerators"] = {tower: found for tower, found in covered.items() if found}
            kind["notes"] = tuple(
                f"{tower} tower: accelerators are counted for {file.path}, which is made for them"
                for tower, file in made_for.items()
            )
        found.append(Candidate(spec, label, manifest.name, sizes=sizes, **kind))
    return found


def comparisons(bundle: Path, manifest: Manifest, suite: BenchmarkConfig, scratch: Path) -> list[Candidate]:
    """List what a suite compares the bundle with.

    Args:
        bundle: the folder.
        manifest: its manifest.
        suite: names what is compared.
        scratch: folder in which plain exports are made.

    Raises:
        UserError: no student or teacher where the suite, or the bundle's record, says.
    """
    makers: dict[str, Callable[[], Candidate]] = {
        "teacher": lambda: _teacher(manifest, suite),
        "student": lambda: _student(find_student(bundle, manifest, suite)),
        "clip-vit-b32": lambda: _clip(bundle),
    }
    absent = _absent(bundle, manifest, suite)
    names = [name for name in dict.fromkeys(suite.comparison) if name not in absent]
    found: dict[str, Candidate] = {name: makers[name]() for name in names if name in makers}
    plain = [name for name in names if name in PLAIN]
    if plain:
        found |= _plain(plain, bundle, manifest, suite, scratch)
    return [found[name] for name in names]


def _absent(bundle: Path, manifest: Manifest, suite: BenchmarkConfig) -> set[str]:
    """Return what a bundle of a model that was not distilled has not: a teacher, perhaps the float model itself."""
    if "adopted" not in manifest.training:
        return set()
    absent: set[str] = set()
    if not _teacher_of(manifest, suite):
        absent.add("teacher")
    if suite.student is None and not (_student_folder(bundle, manifest) / "config.json").is_file():
        say(
            f"the float32 model is not at {_student_folder(bundle, manifest)}, so no relative recall is measured. Name "
            "it: --set student=FOLDER"
        )
        absent |= {"student", *PLAIN}
    return absent


def find_student(bundle: Path, manifest: Manifest, suite: BenchmarkConfig) -> Path:
    """Return the checkpoint that a bundle was exported from: the suite's, or where it was beside the bundle.

    Raises:
        UserError: there is none, or it gives other embeddings.
    """
    from conaclip_edge.bundle.write import embedding_space
    from conaclip_edge.models.student.checkpoint import load_student

    folder = suite.student or _student_folder(bundle, manifest)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"no checkpoint at {folder}, which {bundle} is compared with. Name it: --set student=FOLDER. {_ALONE}"
        )
    if embedding_space(load_student(folder)) != manifest.embedding_space:
        raise UserError(f"{bundle} was not exported from the checkpoint {folder}. Name it: --set student=FOLDER")
    return folder


def _student_folder(bundle: Path, manifest: Manifest) -> Path:
    """Return where a bundle's checkpoint lies: where that of a model of others was, else beside the bundle.

    There `export` finds a checkpoint named `student`, or by the bundle's name or the recipe's.
    """
    beside = bundle.resolve()
    if adopted := manifest.training.get("adopted"):
        return beside.parent / str(adopted.get("checkpoint", "student"))
    names = ("student", beside.stem, str(manifest.training.get("recipe", {}).get("name") or "student"))
    folders = [beside.parent / Path(name).name for name in names]
    return next((folder for folder in folders if (folder / "config.json").is_file()), folders[0])


def _teacher_of(manifest: Manifest, suite: BenchmarkConfig) -> str | None:
    found = suite.teacher or manifest.training.get("recipe", {}).get("teacher")
    return str(found) if found else None


def _teacher(manifest: Manifest, suite: BenchmarkConfig) -> Candidate:
    source = _teacher_of(manifest, suite)
    if not source:
        raise UserError(f"the bundle does not say who its teacher was. Name it: --set teacher=FOLDER. {_ALONE}")
    from conaclip_edge.models.teacher.load import load_teacher

    try:
        sizes = _parameters(load_teacher(source))
    except UserError as error:
        raise UserError(
            "the bundle is compared with its teacher, which cannot be opened. Name it: --set teacher=FOLDER. "
            f"{_ALONE}. The reason: {error}"
        ) from error
    spec = Spec(TEACHER, "teacher", source)
    return Candidate(spec, "Teacher float32", Path(source).name, "torch", "fp32", "", sizes)


def _student(folder: Path) -> Candidate:
    from conaclip_edge.models.student.checkpoint import load_student

    student = load_student(folder)
    sizes = _parameters(student.model)
    spec = Spec(STUDENT, "student", str(folder))
    label = "Float32 model" if "adopted" in student.training else "Student float32"
    return Candidate(spec, label, folder.name, "torch", "fp32", "", sizes)


def _plain(
    names: Sequence[str], bundle: Path, manifest: Manifest, suite: BenchmarkConfig, scratch: Path
) -> dict[str, Candidate]:
    """Export a student without conaclip-edge's own steps."""
    from conaclip_edge.benchmarks.measure.plain_rows import PLAIN_ROWS, plain_exports

    student = find_student(bundle, manifest, suite)
    found = {}
    for name, made in plain_exports(names, bundle, manifest, suite, student, scratch).items():
        row = PLAIN_ROWS[name]
        spec = Spec(name, "files", str(bundle), made.image, made.text, padded=True)
        notes = (f"the same student by {row.how}; texts padded to the context", *made.notes)
        kind: Any = {"target": row.target, "precision": row.precision, "format": row.format}
        # the size of half a pair would say nothing
        sizes = _sizes(made.sizes, spec.files) if len(made.sizes) == 2 else None
        found[name] = Candidate(spec, row.label, student.name, sizes=sizes, notes=notes, **kind)
    return found


def _clip(bundle: Path) -> Candidate:
    import torch
    from transformers import CLIPConfig, CLIPModel

    with torch.device("meta"):
        sizes = _parameters(CLIPModel(CLIPConfig()))
    spec = Spec(CLIP, "clip-vit-b32", str(bundle))
    note = "the shape of CLIP ViT-B/32 with random weights, in torch: latency, size and memory only"
    return Candidate(spec, "CLIP ViT-B/32 float32", CLIP, "torch", "fp32", "", sizes, weights="random", notes=(note,))


def _parameters(model: Any) -> Sizes:
    """Count the bytes of float32 parameters by tower: all of these models name their text modules by "text"."""
    counts = {"image": 0, "text": 0}
    for name, parameter in model.named_parameters():
        counts["text" if "text" in name else "image"] += parameter.numel() * 4
    return _sizes(counts)


def _sizes(bytes_of: dict[Any, int], files: Mapping[Tower, Path] | None = None) -> Sizes:
    deflated = {tower: deflated_bytes(path) for tower, path in (files or {}).items()}
    total = sum(bytes_of.values())
    return Sizes(image=bytes_of.get("image"), text=bytes_of.get("text"), total=total, deflated=deflated)
