"""One benchmark: a bundle's files and what they are held against, on the same pictures, captions and rounds."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.benchmarks.measure.candidates import Candidate, comparisons, shipped
from conaclip_edge.benchmarks.measure.cold_start import Cold, cold
from conaclip_edge.benchmarks.measure.delegate_coverage import coverages
from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process
from conaclip_edge.benchmarks.measure.latency import Speed, measure_speed
from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.benchmarks.measure.models import open_model
from conaclip_edge.benchmarks.measure.recall import Embedded, Split, embed_split, quantiles, rank, typical
from conaclip_edge.benchmarks.report.model_values import model_values
from conaclip_edge.benchmarks.report.write import write_report
from conaclip_edge.benchmarks.schema.report import SCHEMA, BenchmarkReport, parse_report, plain
from conaclip_edge.benchmarks.schema.row import ReportRow, Tower
from conaclip_edge.benchmarks.schema.row_ids import TEACHER
from conaclip_edge.benchmarks.suite.build_rows import choose, make_row, training_rows
from conaclip_edge.benchmarks.suite.gallery import make_gallery
from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.system.files import read_json
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.processes import available_cores
from conaclip_edge.system.progress import say


@only_run
def run_benchmark(bundle: Path, suite: BenchmarkConfig, out: Path, comparison: Path | None) -> dict[str, Any]:
    """Benchmark a bundle and write report.json, report.md and report.html.

    Args:
        bundle: folder with manifest.json.
        suite: what is measured.
        out: folder of the report; an older one is replaced at the end.
        comparison: comparison.json of students trained at equal budget, whose rows the report then shows.

    Returns:
        The content of report.json.

    Raises:
        UserError: no bundle, none of the suite's targets in it, or data, student or teacher that cannot be found.
    """
    machine = environment()
    manifest = read_manifest(bundle)
    data = suite.data or recorded_data(bundle)
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as scratch:
        candidates = [
            *shipped(bundle, manifest, suite),
            *comparisons(bundle, manifest, suite, Path(scratch)),
        ]
        pairs = read_pairs(data)
        split, embedded, subjects = _embed(candidates, pairs, suite, data)
        executed = {name: one.executed.replace("torch", "native") for name, one in subjects.items()}
        tokenizer = TextTokenizer(bundle / "tokenizer.json", manifest.context)
        lengths = [len(tokenizer.ids(text)) for text in split.captions]
        captions = typical(split.captions, lengths, suite.inputs)
        pictures = [pairs.read(row) for row in _spread(split.rows, suite.inputs)]
        native = [one for one in candidates if executed.get(one.spec.row, "native") == "native" and one.runs]
        speeds = _speeds(native, pictures, captions, suite)
        colds = _colds(native, manifest, tokenizer, captions, suite)
        files = [path for one in candidates for path in (one.spec.image, one.spec.text) if path]
        covered = in_fresh_process(coverages, files)
    ranked = {name: rank(found, split.caption_to_image) for name, found in embedded.items()}
    rows = [
        make_row(one, machine.label, executed, embedded, ranked, split.caption_to_image, speeds, colds, covered, suite)
        for one in candidates
    ]
    if comparison:
        rows += training_rows(read_json(comparison, "comparison"), machine.label)
    ship = choose(rows, suite.min_relative_recall)
    report = _assemble(bundle, manifest, suite, rows, ship, machine, pairs, split, lengths)
    report = _with_gallery(report, pairs, split, embedded, subjects, data)
    write_report(report, out)
    return plain(report)


def _embed(
    candidates: list[Candidate], pairs: Pairs, suite: BenchmarkConfig, data: DataConfig
) -> tuple[Split, dict[str, Embedded], dict[str, Encoder]]:
    """Embed the split by everything that has trained weights, on one thread so that a second run gives the same."""
    subjects = {one.spec.row: open_model(one.spec, 1) for one in candidates if one.weights == "trained" and one.runs}
    split, embedded = embed_split(subjects, pairs, suite.split, suite.pictures, data)
    return split, embedded, subjects


def _spread(rows: tuple[int, ...], count: int) -> list[int]:
    return [rows[int((place + 0.5) / count * len(rows))] for place in range(count)]


def _speeds(
    native: list[Candidate], pictures: list[bytes], captions: list[str], suite: BenchmarkConfig
) -> dict[str, Speed]:
    """Time all native rows, once a thread setting; one core has nothing to say about more threads."""
    found: dict[str, Speed] = {one.spec.row: Speed() for one in native}
    settings = dict.fromkeys(threads or available_cores() for threads in (1, *suite.threads))
    for threads in settings:
        specs = [one.spec for one in native]
        measured = in_fresh_process(
            measure_speed, specs, pictures, captions, threads, threads == 1, suite, threads=threads
        )
        for row, speed in measured.items():
            found[row] = replace(
                found[row],
                latencies=found[row].latencies + speed.latencies,
                stages=found[row].stages or speed.stages,
                refused=list(dict.fromkeys(found[row].refused + speed.refused)),
            )
    return found


def _colds(
    native: list[Candidate], manifest: Manifest, tokenizer: TextTokenizer, captions: list[str], suite: BenchmarkConfig
) -> dict[str, Cold]:
    say(f"loading {len(native)} rows in fresh processes")
    pixels = np.zeros((1, 3, manifest.image_size, manifest.image_size), dtype=np.float32)
    found = {}
    for one in native:
        ids = tokenizer(captions[:1])
        if one.spec.padded:
            room = manifest.context - ids.shape[1]
            ids = np.pad(ids, ((0, 0), (0, room)), constant_values=tokenizer.pad_id)
        inputs: dict[Tower, np.ndarray] = {"image": pixels, "text": ids}
        found[one.spec.row] = cold(one.spec, inputs, suite.loads)
    return found


def _assemble(
    bundle: Path,
    manifest: Manifest,
    suite: BenchmarkConfig,
    rows: list[ReportRow],
    ship: str | None,
    machine: Any,
    pairs: Pairs,
    split: Split,
    lengths: list[int],
) -> BenchmarkReport:
    values = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "model": model_values(bundle, manifest),
        "suite": suite,
        "environment": machine,
        "dataset": {
            "name": pairs.name,
            "split": suite.split,
            "pictures": len(split.rows),
            "captions": len(split.captions),
            "fingerprint": pairs.fingerprint,
            "licence": pairs.licence,
            "lengths": quantiles(lengths),
            "left_out": split.left_out,
        },
        "ship": ship,
        "rows": rows,
    }
    return parse_report(values, "the report")


def _with_gallery(
    report: BenchmarkReport,
    pairs: Pairs,
    split: Split,
    embedded: dict[str, Embedded],
    subjects: dict[str, Encoder],
    data: DataConfig,
) -> BenchmarkReport:
    """Add the gallery: of the row that ships, else of the first one of the bundle; it needs the teacher beside it."""
    row = report.ship or next((one.id for one in report.rows if one.group == "files"), None)
    if row is None or TEACHER not in embedded:
        return report
    sides = {"teacher": TEACHER, "student": row}
    gallery, pictures = make_gallery(
        pairs,
        split,
        {side: embedded[name] for side, name in sides.items()},
        {side: subjects[name] for side, name in sides.items()},
        report.suite.gallery,
        data,
    )
    return report.model_copy(update={"gallery_row": row, "gallery": gallery, "pictures": pictures})
