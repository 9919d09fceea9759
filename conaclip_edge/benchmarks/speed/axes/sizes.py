"""Bytes of a bundle's text files relative to float32, and each file's cosine to its student."""

from __future__ import annotations

from conaclip_edge.benchmarks.schema.speed import Finding, exactly
from conaclip_edge.bundle.manifest import ExportedFile, Manifest

_NAMES = {"onnx": "ONNX", "executorch": "ExecuTorch", "coreml": "Core ML", "coreai": "Core AI"}


def measure(manifest: Manifest, clip_text_bytes: int) -> list[Finding]:
    """Compare the int8 text files with their own float32 parameters and with CLIP ViT-B/32's text tower.

    Args:
        manifest: of the bundle.
        clip_text_bytes: float32 parameters of that tower.
    """
    findings = []
    for file in manifest.files:
        if file.precision != "int8" or file.tower != "text" or _beside(file):
            continue
        name = _NAMES[file.target]
        for other, size, bar in (
            ("its float32 parameters", file.float_size, 0.27),
            ("CLIP ViT-B/32's text tower", clip_text_bytes, 0.12),
        ):
            what = f"text {name} int8 / {other}"
            findings.append(Finding(axis="sizes", what=what, value=exactly(file.size / size), n=1, bar=bar))
    return findings


def cosines(manifest: Manifest) -> list[Finding]:
    """Return each int8 file's mean cosine to the float student on held-out pairs, from the export's gate."""
    return [
        Finding(
            axis="cosine",
            what=f"{file.tower} {_NAMES[file.target]} int8, mean cosine to the float student",
            value=exactly(file.gate.cosine.mean),
            n=file.gate.pictures if file.tower == "image" else file.gate.captions,
            bar=0.999,
            most=False,
            note=f"{file.gate.split} split, {file.gate.executed}",
        )
        for file in manifest.files
        if file.precision == "int8" and not _beside(file)
    ]


def _beside(file: ExportedFile) -> bool:
    """Say whether a file is another form of one that is looked at."""
    return file.form is not None or file.path.endswith(".ort")
