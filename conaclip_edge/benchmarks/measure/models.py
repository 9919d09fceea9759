"""Which models a benchmark measures, and how any process opens them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from conaclip_edge.benchmarks.schema.row import Tower
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.data.preprocess import read_preprocess
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.evaluation.encoders import files_encoder, open_student, open_teacher
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.runtime.open_tower import open_tower


@dataclass(frozen=True)
class Spec:
    """How to open a model in any process.

    Attributes:
        row: id of its row.
        kind: exported files, a checkpoint, a teacher, or the shape of CLIP ViT-B/32 with random weights.
        source: folder of the checkpoint or teacher; of the bundle for the other two, which use its tokenizer.
        image: exported image tower; None if it cannot be run.
        text: exported text tower, likewise.
        padded: texts always go in at the full context, as exports without variable length need it.
        shipped: part of the bundle, not something that it is compared with.
    """

    row: str
    kind: Literal["files", "student", "teacher", "clip-vit-b32"]
    source: str
    image: Path | None = None
    text: Path | None = None
    padded: bool = False
    shipped: bool = False

    @property
    def files(self) -> dict[Tower, Path]:
        """The exported towers that can be run, the image tower first."""
        paths: dict[Tower, Path | None] = {"image": self.image, "text": self.text}
        return {tower: path for tower, path in paths.items() if path}


def open_model(spec: Spec, threads: int) -> Encoder:
    """Open a model.

    Args:
        spec: which one.
        threads: CPU threads that it runs on.
    """
    if spec.kind == "files":
        return _open_files(spec, threads)
    import torch

    torch.set_num_threads(threads)
    if spec.kind == "student":
        return open_student(Path(spec.source))
    if spec.kind == "teacher":
        return open_teacher(spec.source)
    from conaclip_edge.evaluation.torch_encoders import clip_b32_encoder

    bundle = Path(spec.source)
    return clip_b32_encoder(bundle / "tokenizer.json", read_manifest(bundle).context)


def _open_files(spec: Spec, threads: int) -> Encoder:
    bundle = Path(spec.source)
    manifest = read_manifest(bundle)
    tokenizer = TextTokenizer(bundle / "tokenizer.json", manifest.context)
    preprocess = read_preprocess(bundle / "preprocess.json", manifest.image_size)
    image = open_tower(spec.image, threads) if spec.image else None
    text = open_tower(spec.text, threads) if spec.text else None
    return files_encoder(spec.row, image, text, tokenizer, preprocess, spec.padded)
