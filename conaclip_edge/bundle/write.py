"""The bundle: one folder with the exported files of a student and all that an app needs to trust and run them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from conaclip_edge.bundle.card.licence import LICENCE, licence_text
from conaclip_edge.bundle.card.model_card import model_card
from conaclip_edge.bundle.card.platforms import KITS, kit_files
from conaclip_edge.bundle.golden import FOLDER, Golden, write_golden
from conaclip_edge.bundle.held_out_pairs import HeldOutPairs, write_pairs
from conaclip_edge.bundle.manifest import SCHEMA, ExportedFile, Manifest, digest_of, manifest_text, read_manifest
from conaclip_edge.bundle.members import MANIFEST, SIGNATURE, hashed, member_problems
from conaclip_edge.data.preprocess import Preprocess, describe
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.checkpoint import Student
from conaclip_edge.system.files import atomic_folder, read_json, write_json
from conaclip_edge.system.products import BUNDLE
from conaclip_edge.system.progress import say
from conaclip_edge.system.version import __version__

CARD = "README.md"
_BEFORE_KITS = "examples"  # folder of the code in bundles of older versions


@dataclass(frozen=True)
class TargetFiles:
    """Exported files of one target: what a bundle is extended by.

    Attributes:
        source: folder in which they are now.
        folder: name of their folder in the bundle.
        files: their entries in the manifest.
    """

    source: Path
    folder: str
    files: tuple[ExportedFile, ...]


def embedding_space(student: Student) -> str:
    """Hash everything that an embedding depends on: weights, shape, preprocessing, tokenizer."""
    digest = hashlib.sha256()

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)

    config = student.model.config
    add(json.dumps([config.model_dump(mode="json"), describe(Preprocess.of(config.image))], sort_keys=True).encode())
    add(student.tokenizer.content.encode())
    for name, value in sorted(student.model.state_dict().items()):
        add(f"{name} {value.dtype} {list(value.shape)}".encode())
        add(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def extendable(out: Path, space: str, replace: bool) -> Manifest | None:
    """Return the manifest of the bundle that an export would extend, None where it starts a new one.

    Args:
        out: the bundle's folder.
        space: embedding space of the student that is exported.
        replace: start a new one even if there is a bundle.

    Raises:
        UserError: `out` is something else, a bundle of another embedding space, or a damaged one.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / MANIFEST).is_file():
        raise UserError(f"{out} exists and is no bundle; it is left alone. Choose another --out.")
    if replace:
        return None
    manifest = read_manifest(out)
    if manifest.embedding_space != space:
        raise UserError(
            f"bundle {out} holds another student (embedding space {manifest.embedding_space[:12]}.., this one's is "
            f"{space[:12]}..); one index cannot mix them. Choose another --out, or pass --replace."
        )
    problems = member_problems(out, manifest.members)
    if problems:
        raise UserError(
            f"bundle {out} is damaged and is not extended: {problems[0]}. Pass --replace to start a new one."
        )
    return manifest


def start_bundle(
    folder: Path,
    student: Student,
    name: str,
    space: str,
    licence: str,
    golden: Golden,
    pairs: HeldOutPairs | None = None,
) -> Manifest:
    """Write what a bundle holds beside the exported files: tokenizer.json, preprocess.json, golden/, held-out pairs.

    Args:
        folder: is made.
        student: the checkpoint.
        name: of the student.
        space: its embedding space.
        licence: of the data, where the student's record names none.
        golden: golden vectors.
        pairs: embeddings of held-out pairs, where there are captions.

    Returns:
        The manifest of a bundle without files.
    """
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(student.tokenizer.content.encode())
    write_json(folder / "preprocess.json", describe(Preprocess.of(student.model.config.image)))
    write_golden(golden, folder / FOLDER)
    if pairs and len(pairs.texts):
        write_pairs(pairs, folder)
    model = student.model.config
    return Manifest(
        schema=SCHEMA,
        name=name,
        embedding_space=space,
        embed_dim=model.embed_dim,
        image_size=model.image.size,
        context=model.text.context,
        vocab_size=model.text.vocab_size,
        eos_id=student.tokenizer.eos_id,
        pad_id=student.tokenizer.pad_id,
        fixed_length=student.tokenizer.fixed_length,
        licence=student.training.get("data", {}).get("licence") or licence,
        training=student.training,
        versions={package: version(package) for package in ("torch", "transformers", "numpy", "pillow", "tokenizers")}
        | {"conaclip-edge": __version__},
    )


def write_bundle(
    out: Path,
    start: Manifest,
    base: Path,
    exports: Sequence[TargetFiles],
    card: Callable[[Manifest, Mapping[str, Any]], str] = model_card,
) -> Manifest:
    """Write a bundle, whole or not at all.

    Args:
        out: the bundle's folder; what is there is replaced at the end.
        start: manifest of `base`: a bundle that is extended, or one without files.
        base: the bundle that is extended, or the folder of `start_bundle`.
        exports: what goes in; files of the same target, precision and backend are replaced.
        card: makes the model card, of the manifest and the content of preprocess.json.

    Returns:
        The manifest that was written.
    """
    new = tuple(file for export in exports for file in export.files)
    replaced = [old for old in start.files if any(_same_kind(old, file) for file in new)]
    files = sorted([*(old for old in start.files if old not in replaced), *new], key=lambda file: file.path)
    manifest = start.model_copy(update={"files": tuple(files)})
    was_signed = (out / SIGNATURE).exists()
    with atomic_folder(out, BUNDLE) as target:
        shutil.copytree(base, target, dirs_exist_ok=True)
        (target / SIGNATURE).unlink(missing_ok=True)  # it was of the manifest that is replaced
        for old in replaced:
            _remove(target / old.path)
        for export in exports:
            shutil.copytree(export.source, target / export.folder, dirs_exist_ok=True)
        _write_texts(target, manifest, card)
        manifest = manifest.model_copy(update={"members": hashed(target)})
        manifest = manifest.model_copy(update={"digest": digest_of(manifest)})
        (target / MANIFEST).write_text(manifest_text(manifest), encoding="utf-8")
    if was_signed:
        say(f"{out} is new and no longer signed. Sign it again: conaclip-edge sign {out} --key KEY")
    return manifest


def _write_texts(folder: Path, manifest: Manifest, card: Callable[[Manifest, Mapping[str, Any]], str]) -> None:
    """Write what a person reads: model card, licence, and the app kit for the targets that are there."""
    preprocess = read_json(folder / "preprocess.json", "preprocessing")
    (folder / CARD).write_text(card(manifest, preprocess), encoding="utf-8")
    (folder / LICENCE).write_text(licence_text(manifest), encoding="utf-8")
    for kit in (*KITS, _BEFORE_KITS):
        shutil.rmtree(folder / kit, ignore_errors=True)
    for name, text in kit_files(manifest).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def _same_kind(old: ExportedFile, new: ExportedFile) -> bool:
    return (old.target, old.precision, old.backend) == (new.target, new.precision, new.backend)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
