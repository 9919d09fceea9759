"""The benchmark on arm64's kernels: embeddings, recall, instructions and memory of a bundle's files; no times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conaclip_edge.benchmarks.measure.candidates import Candidate, find_student, shipped
from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.benchmarks.measure.models import open_model
from conaclip_edge.benchmarks.measure.recall import Embedded, Split, dataset_of, embed_split, rank
from conaclip_edge.benchmarks.report.new_report import new_report
from conaclip_edge.benchmarks.report.write import write_report
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import DIRECTIONS, Instructions, OnDevice, ReportRow, Tower
from conaclip_edge.bundle.embeddings import cosines
from conaclip_edge.bundle.golden import FOLDER, Golden, read_golden
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.preprocess import decode, to_pixels
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.encoders import open_student
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.evaluation.recall import mean_recall
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.runtime.arm64.machine import EMULATOR, PACKAGES, Arm64, find_arm64
from conaclip_edge.runtime.arm64.run_tower import TowerRun, run_tower
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.progress import say


@dataclass(frozen=True)
class _HeldOut:
    """Held-out pairs as the towers take them, after the golden inputs.

    Attributes:
        golden: of the bundle.
        pixels: uint8 [P, 3, H, W].
        ids: of each caption.
        split: pictures and captions.
        student: embeddings of the float32 student.
    """

    golden: Golden
    pixels: np.ndarray
    ids: tuple[np.ndarray, ...]
    split: Split
    student: Embedded


@only_run
def benchmark_arm64(bundle: Path, suite: BenchmarkConfig, out: Path, machine: Arm64 | None = None) -> BenchmarkReport:
    """Run a bundle's files on arm64 and write report.json, report.md and report.html.

    Args:
        bundle: folder with manifest.json.
        suite: targets, precisions, data and split; `arm64` says how long pictures are embedded.
        out: folder of the report.
        machine: the arm64 system; None takes this machine or the one that was prepared.

    Raises:
        UserError: no arm64 system, no bundle, none of its files runs there, or data or student that cannot be found.
    """
    machine = machine or find_arm64()
    here = environment()
    manifest = read_manifest(bundle)
    candidates = shipped(bundle, manifest, suite)
    refused = {path: machine.refusal(path) for one in candidates for path in one.spec.files.values()}
    candidates = [one for one in candidates if not any(refused[path] for path in one.spec.files.values())]
    if not candidates:
        reasons = "; ".join(sorted(set(refused.values())))
        raise UserError(f"no file of {bundle} runs on {machine.label}: {reasons}.")
    data = suite.data or recorded_data(bundle)
    pairs = read_pairs(data)
    encoders = {one.spec.row: open_model(one.spec, 1) for one in candidates}
    student = open_student(find_student(bundle, manifest, suite))
    split, embedded = embed_split(encoders | {"": student}, pairs, suite.split, suite.pictures, data)
    tokenizer = TextTokenizer(bundle / "tokenizer.json", manifest.context)
    pictures = [to_pixels(decode(pairs.read(row), data.max_pixels), manifest.image_size) for row in split.rows]
    ids = tuple(np.asarray(tokenizer.ids(text), np.int32) for text in split.captions)
    held_out = _HeldOut(read_golden(bundle / FOLDER), np.stack(pictures), ids, split, embedded[""])
    rows = []
    for one in candidates:
        towers = {
            tower: _measure(machine, one, tower, path, held_out, embedded[one.spec.row], suite)
            for tower, path in one.spec.files.items()
        }
        rows.append(_row(one, here.label, machine, towers))
    here = here.model_copy(update={"versions": here.versions | _versions(machine)})
    dataset = dataset_of(pairs, suite.split, split, [len(row) for row in ids])
    report = new_report(bundle, manifest, suite, here, rows, dataset)
    write_report(report, out)
    return report


def _measure(
    machine: Arm64,
    candidate: Candidate,
    tower: Tower,
    path: Path,
    held_out: _HeldOut,
    host: Embedded,
    suite: BenchmarkConfig,
) -> OnDevice:
    """Run one tower over the golden and the held-out inputs, and count a call of it."""
    golden = held_out.golden.embeddings(tower)
    first = len(golden)
    say(f"{machine.label}: {candidate.label}, {tower} tower")
    if tower == "image":
        pixels = np.concatenate([held_out.golden.pixels, held_out.pixels])
        run = run_tower(machine, path, pixels, first, suite.arm64.seconds, least=first + 1)
        length = None
    else:
        typical = int(np.argsort([len(row) for row in held_out.ids], kind="stable")[len(held_out.ids) // 2])
        run = run_tower(machine, path, (*held_out.golden.ids, *held_out.ids), first + typical)
        length = len(held_out.ids[typical])
    at_golden = cosines(run.embeddings[:first], golden)
    found = run.embeddings[first:]
    own, student = (side.pictures if tower == "image" else side.texts for side in (host, held_out.student))
    assert own is not None
    assert student is not None
    to_host = cosines(found, own[: len(found)])
    pair = Embedded(found, host.texts) if tower == "image" else Embedded(host.pictures, found)
    count = len(found) if tower == "image" else len(held_out.split.rows)
    ranks, host_ranks = (_rank_first(side, held_out.split.caption_to_image, count) for side in (pair, host))
    return OnDevice(
        golden=float(at_golden.min()),
        golden_passed=bool(at_golden.min() >= held_out.golden.min_cosine[candidate.precision]),
        to_student=float(cosines(found, student[: len(found)]).mean()),
        to_host=float(to_host.mean()),
        to_host_least=float(to_host.min()),
        pictures=count,
        captions=int((held_out.split.caption_to_image < count).sum()),
        recall={direction: ranks[direction] for direction in DIRECTIONS},
        mean_recall=mean_recall(ranks),
        host_mean_recall=mean_recall(host_ranks),
        instructions=_instructions(run, length),
        runtime_bytes=run.runtime_bytes,
        peak_bytes=run.peak_bytes,
    )


def _rank_first(embedded: Embedded, caption_to_image: np.ndarray, count: int) -> dict[str, dict[str, float]]:
    """Return the recall over the first pictures and their captions."""
    captions = caption_to_image < count
    assert embedded.pictures is not None
    assert embedded.texts is not None
    texts = embedded.texts[captions]
    ranks = rank(Embedded(embedded.pictures[:count], texts), caption_to_image[captions])
    assert ranks is not None
    return ranks.recall()


def _instructions(run: TowerRun, ids: int | None) -> Instructions | None:
    found = run.instructions
    if found is None:
        return None
    return Instructions(
        median=found.median,
        low=min(found.per_call),
        high=max(found.per_call),
        n=len(found.per_call),
        start=found.load + found.first,
        ids=ids,
    )


def _row(candidate: Candidate, host: str, machine: Arm64, towers: dict[Tower, OnDevice]) -> ReportRow:
    return ReportRow(
        id=f"{candidate.spec.row}-arm64",
        label=candidate.label,
        group="files",
        host=host,
        device=machine.label,
        model=candidate.model,
        target=candidate.target,
        precision=candidate.precision,
        format=candidate.format,
        weights=candidate.weights,
        executed="emulated" if machine.emulated else "native",
        size_bytes=candidate.sizes,
        recall=None,
        on_device=towers,
    )


def _versions(machine: Arm64) -> dict[str, str]:
    """Return the versions that decide what was measured: of the emulator and the runtimes."""
    wanted = (EMULATOR, *PACKAGES.values())
    named = {name: name if name == EMULATOR else f"{name} on arm64" for name in wanted}
    return {named[name]: machine.versions[name] for name in wanted if name in machine.versions}
