"""A new report: what was measured, with the bundle and the time it is of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from conaclip_edge.benchmarks.answer.platforms import decided
from conaclip_edge.benchmarks.schema.agreement import Agreement
from conaclip_edge.benchmarks.schema.ann import AnnReport
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, Dataset, MeasuredBundle
from conaclip_edge.benchmarks.schema.row import ReportRow
from conaclip_edge.bundle.manifest import Manifest
from conaclip_edge.config.benchmark import BenchmarkConfig


def new_report(
    bundle: Path,
    manifest: Manifest,
    suite: BenchmarkConfig,
    environment: Environment,
    rows: Sequence[ReportRow] = (),
    dataset: Dataset | None = None,
    ann: AnnReport | None = None,
    agreement: Sequence[Agreement] = (),
) -> BenchmarkReport:
    """Put a report together, with what it says of each platform.

    Args:
        bundle: the folder that was measured.
        manifest: its manifest.
        suite: the settings.
        environment: the machine or phone.
        rows: what was measured of files and models.
        dataset: what recall was measured on.
        ann: what was measured of the index's graph.
        agreement: of every two rows of the student and its files.
    """
    report = BenchmarkReport(
        created=now(),
        model=_measured_bundle(bundle, manifest),
        suite=suite,
        environment=environment,
        dataset=dataset,
        rows=tuple(rows),
        ann=ann,
        agreement=tuple(agreement),
    )
    return decided(report)


def now() -> str:
    """Return the time as reports show it: UTC, ISO 8601, to the second."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return created.replace("+00:00", "Z")


def _measured_bundle(bundle: Path, manifest: Manifest) -> MeasuredBundle:
    parameters = manifest.training.get("parameters", {})
    return MeasuredBundle(
        name=manifest.name,
        embedding_space=manifest.embedding_space,
        digest=manifest.digest,
        bundle=_shown(bundle),
        embed_dim=manifest.embed_dim,
        image_size=manifest.image_size,
        context=manifest.context,
        parameters={name: count for name, count in parameters.items() if isinstance(count, int)},
    )


def _shown(folder: Path) -> str:
    """Name a folder relative to the working folder where it is inside, as a report that travels should."""
    try:
        return folder.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(folder)
