"""What an export reports: the measured files of a bundle, what each target took, and what was rejected."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.bundle.gate_words import (
    measured_text,
    on_fewer,
    passed_below,
    relative_recall_text,
    together_text,
    tolerance_text,
    widest,
)
from conaclip_edge.bundle.manifest import ExportedFile
from conaclip_edge.system.result import Result


class TargetCosts(Result):
    """What one target took.

    Attributes:
        seconds: "export" of writing the files, "gate" of running them.
        peak_rss_bytes: largest resident memory while it was done.
        own_process: whether it had a process to itself; if not, the memory holds what the command needs as well.
        sensitivity: layer -> quantisation error (1 - mean cosine when it alone is int8), largest first; empty unless it
            was asked for or helps to explain a gate failure.
    """

    seconds: dict[str, float]
    peak_rss_bytes: int
    own_process: bool = True
    sensitivity: dict[str, float]


class GateData(Result):
    """The held-out pictures that the files ran on.

    Attributes:
        name: of the data set.
        split: of it.
        fingerprint: of it.
        left_out: pictures that cannot be used, as "key: reason".
    """

    name: str
    split: str
    fingerprint: str
    left_out: tuple[str, ...]


class ExportReport(Result):
    """What `export_bundle` did.

    Attributes:
        bundle: its folder.
        embedding_space: embeddings compare only where this id is the same.
        digest: of the bundle's manifest.
        dataset: what the gate ran the files on.
        files: those of this export, as in the manifest.
        targets: title, e.g. "onnx int8" -> what it took.
        checkpoint: that was exported.
        skipped: targets of "all" that lack the precision, a sentence each.
    """

    bundle: Path
    embedding_space: str
    digest: str
    dataset: GateData
    files: tuple[ExportedFile, ...]
    targets: dict[str, TargetCosts]
    checkpoint: Path
    skipped: tuple[str, ...] = ()


class RejectedTarget(TargetCosts):
    """Content of rejected.json beside the files of a target that failed the gate.

    Attributes:
        failures: why, one sentence for each file or tower.
        files: as they would be in the manifest.
    """

    failures: tuple[str, ...]
    files: tuple[ExportedFile, ...]


def export_table(report: ExportReport) -> str:
    """Format a report for a terminal."""
    lines = [f"{'':36}{'MB':>8}{'of float':>10}{'cosine':>10}{'relative recall t2i / i2t':>27}  run"]
    for file in report.files:
        recall = relative_recall_text(file.gate.alone)
        lines.append(
            f"{file.path:36}{file.size / 1e6:>8.2f}{file.size / file.float_size:>10.3f}"
            f"{file.gate.cosine.mean:>10.5f}{recall:>27}  {file.gate.executed}"
        )
    if report.files:
        lines.append(measured_text(widest(report.files)))
        if together := together_text(report.files):
            lines.append(f"Relative recall of both towers together, t2i / i2t [95 %]: {together}.")
        lines += [tolerance_text(report.files), *on_fewer(report.files), *passed_below(report.files)]
    for title, costs in report.targets.items():
        took = f"exported in {costs.seconds['export']} s, run in {costs.seconds['gate']} s"
        memory = f"at most {costs.peak_rss_bytes / 1e9:.1f} GB of memory"
        lines.append(f"{title}: {took}, {memory}" + ("" if costs.own_process else ", the command's own included"))
        lines += [f"  {layer:40}{error:.2e}" for layer, error in costs.sensitivity.items()]
    lines += [f"{skipped}." for skipped in report.skipped]
    lines.append(
        f"bundle of {report.checkpoint} in {report.bundle}. Check it anywhere: conaclip-edge verify {report.bundle}"
    )
    return "\n".join(lines)
