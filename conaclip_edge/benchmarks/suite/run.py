"""One benchmark: a bundle's files and what they are compared with, on the same pictures, captions and rounds."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from conaclip_edge.benchmarks.measure.candidates import Candidate, comparisons, shipped
from conaclip_edge.benchmarks.measure.cold_start import ColdStart, measure_cold_start
from conaclip_edge.benchmarks.measure.delegate_coverage import coverages
from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process
from conaclip_edge.benchmarks.measure.latency import Timings, measure_latency
from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.benchmarks.measure.models import open_model
from conaclip_edge.benchmarks.measure.recall import Embedded, Split, dataset_of, embed_split, rank, typical
from conaclip_edge.benchmarks.report.new_report import new_report
from conaclip_edge.benchmarks.report.write import write_report
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Tower
from conaclip_edge.benchmarks.schema.row_ids import STUDENT, TEACHER
from conaclip_edge.benchmarks.suite.agreement import agreements
from conaclip_edge.benchmarks.suite.build_rows import Measurements, make_row, training_rows
from conaclip_edge.benchmarks.suite.gallery import Side, make_gallery
from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.usable import reasons, usable_pictures
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.evaluation.mean_interval import chance
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.models.vocabulary_words import vocabulary_phrases
from conaclip_edge.runtime.tower import Executed
from conaclip_edge.system.files import read_json
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.processes import available_cores
from conaclip_edge.system.progress import say

_PHRASES = 100  # texts that are timed where there are no captions
_NO_CAPTIONS = (
    "its data have no captions, so recall was not measured; texts are timed on phrases of the tokenizer's words"
)


@only_run
def run_benchmark(bundle: Path, suite: BenchmarkConfig, out: Path) -> BenchmarkReport:
    """Benchmark a bundle on this machine and write report.json, report.md and report.html.

    Args:
        bundle: folder with manifest.json; comparison.json beside it gives the rows of students trained at equal budget.
        suite: what is measured.
        out: folder of the report; an older one is replaced at the end.

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
        pairs = read_pairs(data, captions_needed=False)
        labelled = any(len(pairs.captions[row]) for row in pairs.rows(suite.split))
        encoders = _open(candidates)
        if labelled:
            split, embedded = embed_split(encoders, pairs, suite.split, suite.pictures, data)
        else:
            split, embedded = _without_captions(bundle, manifest, pairs, suite, data)
        executed = {row: _executed(encoder) for row, encoder in encoders.items()}
        tokenizer = TextTokenizer(bundle / "tokenizer.json", manifest.context)
        lengths = [len(tokenizer.ids(text)) for text in split.captions]
        captions = typical(split.captions, lengths, suite.inputs)
        pictures = [pairs.read(row) for row in _evenly(split.rows, suite.inputs)]
        native = [one for one in candidates if executed.get(one.spec.row, "native") == "native" and one.runs]
        timings = _timings(native, pictures, captions, suite)
        cold_starts = _cold_starts(native, manifest, tokenizer, captions, suite)
        files = [path for one in candidates for path in one.spec.files.values()]
        coverage = in_fresh_process(coverages, files)
    ranked = {row: rank(vectors, split.caption_to_image) for row, vectors in embedded.items()}
    measured = Measurements(
        machine.label, executed, embedded, ranked, split.caption_to_image, timings, cold_starts, coverage
    )
    rows = [make_row(candidate, measured, suite) for candidate in candidates]
    if not labelled:
        rows = [row.model_copy(update={"notes": (*row.notes, _NO_CAPTIONS)}) for row in rows]
    comparison = bundle.parent / "comparison.json"
    if comparison.is_file():
        rows += training_rows(read_json(comparison, "comparison"), machine.label)
    by_chance = next((chance(one) for one in ranked.values() if one), None)
    dataset = dataset_of(pairs, suite.split, split, lengths, by_chance)
    same = [one.spec.row for one in candidates if one.spec.shipped or one.spec.row == STUDENT]
    agreement = agreements(embedded, sorted(same, key=lambda row: row != STUDENT))
    report = new_report(bundle, manifest, suite, machine, rows, dataset if labelled else None, agreement=agreement)
    if labelled:
        report = _with_gallery(report, pairs, split, embedded, encoders, data)
    write_report(report, out)
    return report


def _without_captions(
    bundle: Path, manifest: Manifest, pairs: Pairs, suite: BenchmarkConfig, data: DataConfig
) -> tuple[Split, dict[str, Embedded]]:
    """Choose pictures and phrases to time where no recall can be measured."""
    say(f"{pairs.name}: {_NO_CAPTIONS}")
    left_out: dict[str, str] = {}
    rows = pairs.rows(suite.split)[: suite.pictures].tolist()
    kept = [row for row, _, _ in usable_pictures(pairs, rows, data.max_pixels, left_out, data.max_bad)]
    phrases = vocabulary_phrases(TextTokenizer(bundle / "tokenizer.json", manifest.context), _PHRASES)
    nothing = np.zeros(0, dtype=np.int64)
    return Split(tuple(kept), tuple(phrases), nothing, tuple(reasons(left_out))), {}


def _open(candidates: list[Candidate]) -> dict[str, Encoder]:
    """Open everything that has trained weights, on one thread so that a second run gives the same embeddings."""
    return {one.spec.row: open_model(one.spec, 1) for one in candidates if one.weights == "trained" and one.runs}


def _executed(encoder: Encoder) -> Executed:
    return "native" if encoder.executed == "torch" else encoder.executed


def _evenly(rows: tuple[int, ...], count: int) -> list[int]:
    return [rows[int((number + 0.5) / count * len(rows))] for number in range(count)]


def _timings(
    native: list[Candidate], pictures: list[bytes], captions: list[str], suite: BenchmarkConfig
) -> dict[str, Timings]:
    """Time all native rows, once per thread setting; one core has nothing to say about more threads."""
    timings: dict[str, Timings] = {one.spec.row: Timings() for one in native}
    specs = [one.spec for one in native]
    for threads in dict.fromkeys(threads or available_cores() for threads in (1, *suite.threads)):
        measured = in_fresh_process(
            measure_latency, specs, pictures, captions, threads, threads == 1, suite, threads=threads
        )
        for row, new in measured.items():
            old = timings[row]
            timings[row] = replace(
                old,
                latencies=old.latencies + new.latencies,
                stages=old.stages or new.stages,
                refused=list(dict.fromkeys(old.refused + new.refused)),
            )
    return timings


def _cold_starts(
    native: list[Candidate], manifest: Manifest, tokenizer: TextTokenizer, captions: list[str], suite: BenchmarkConfig
) -> dict[str, ColdStart]:
    say(f"loading {len(native)} rows in fresh processes")
    pixels = np.zeros((1, 3, manifest.image_size, manifest.image_size), dtype=np.float32)
    cold_starts = {}
    for candidate in native:
        ids = tokenizer(captions[:1])
        if candidate.spec.padded:
            room = manifest.context - ids.shape[1]
            ids = np.pad(ids, ((0, 0), (0, room)), constant_values=tokenizer.pad_id)
        inputs: dict[Tower, np.ndarray] = {"image": pixels, "text": ids}
        cold_starts[candidate.spec.row] = measure_cold_start(candidate.spec, inputs, suite.loads)
    return cold_starts


def _with_gallery(
    report: BenchmarkReport,
    pairs: Pairs,
    split: Split,
    embedded: dict[str, Embedded],
    encoders: dict[str, Encoder],
    data: DataConfig,
) -> BenchmarkReport:
    """Add the gallery: of the row that ships, else of the first one of the bundle; it needs the teacher beside it."""
    row = report.ship or next((one.id for one in report.rows if one.group == "files"), None)
    if row is None or TEACHER not in embedded:
        return report
    sides: dict[Side, str] = {"teacher": TEACHER, "student": row}
    gallery, pictures = make_gallery(
        pairs,
        split,
        {side: embedded[name] for side, name in sides.items()},
        {side: encoders[name] for side, name in sides.items()},
        report.suite.gallery,
        data,
    )
    return report.model_copy(update={"gallery_row": row, "gallery": gallery, "pictures": pictures})
