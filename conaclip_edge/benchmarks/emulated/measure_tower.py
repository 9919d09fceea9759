"""One exported tower on a device: its embeddings beside the host's, recall, instructions and memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from conaclip_edge.benchmarks.emulated.held_out import HeldOut
from conaclip_edge.benchmarks.measure.candidates import Candidate
from conaclip_edge.benchmarks.measure.recall import Embedded, rank
from conaclip_edge.benchmarks.schema.row import DIRECTIONS, Instructions, OnDevice, RecallTable, Tower
from conaclip_edge.benchmarks.schema.row_ids import STUDENT
from conaclip_edge.bundle.embeddings import cosines
from conaclip_edge.evaluation.recall import mean_recall
from conaclip_edge.runtime.emulated.device import Device
from conaclip_edge.runtime.emulated.run_tower import TowerRun, run_tower
from conaclip_edge.system.progress import say


def measure_tower(device: Device, candidate: Candidate, tower: Tower, held_out: HeldOut, seconds: float) -> OnDevice:
    """Run one tower over the golden and the held-out inputs, and count a call of it.

    Args:
        device: where.
        candidate: whose tower.
        tower: which one.
        held_out: the inputs.
        seconds: after which no further held-out input is embedded.

    Raises:
        UserError: the file does not run there.
    """
    say(f"{device.label}: {candidate.label}, {tower} tower")
    path = candidate.spec.files[tower]
    golden = held_out.golden.embeddings(tower) if candidate.spec.shipped else np.zeros((0, 1))
    first = len(golden)
    inputs: np.ndarray | tuple[np.ndarray, ...]
    length = None
    if tower == "image":
        own = held_out.golden.pixels[:first]
        inputs = np.concatenate([own, held_out.picture[None], held_out.pixels])
    else:
        inputs = (*held_out.golden.ids[:first], held_out.caption, *held_out.ids)
        inputs = tuple(map(held_out.full, inputs)) if candidate.spec.padded else inputs
        length = len(inputs[first])
    run = run_tower(device, path, inputs, first, seconds, least=first + 1)
    beside = _beside(candidate.spec.row, tower, run.embeddings[first + 1 :], held_out)
    at_golden = float(cosines(run.embeddings[:first], golden).min()) if first else None
    least = held_out.golden.least_cosine(tower, candidate.precision)
    return OnDevice(
        golden=at_golden,
        golden_passed=None if at_golden is None else at_golden >= least,
        instructions=_instructions(run, length),
        runtime_bytes=run.runtime_bytes,
        peak_bytes=run.peak_bytes,
        **beside._asdict(),
    )


class _Beside(NamedTuple):
    """What a report has of a tower's held-out embeddings beside the host's; None where there are none to compare."""

    to_student: float | None = None
    to_host: float | None = None
    to_host_least: float | None = None
    pictures: int = 0
    captions: int = 0
    recall: RecallTable | None = None
    mean_recall: float | None = None
    host_mean_recall: float | None = None


def _beside(row: str, tower: Tower, found: np.ndarray, held_out: HeldOut) -> _Beside:
    """Compare a tower's embeddings of the first held-out inputs with the student's and the host's."""
    host, student = held_out.embedded.get(row), held_out.embedded.get(STUDENT)
    own, floats = (_side(one, tower) for one in (host, student))
    if not len(found):
        return _Beside()
    beside = _Beside(None if floats is None else float(cosines(found, floats[: len(found)]).mean()))
    if host is None or own is None:
        return beside
    to_host = cosines(found, own[: len(found)])
    beside = beside._replace(to_host=float(to_host.mean()), to_host_least=float(to_host.min()))
    owners = held_out.split.caption_to_image
    count = len(found)
    if tower == "text":  # the pictures all of whose captions are among the first
        count = int(owners[count]) if count < len(owners) else len(held_out.split.rows)
    pair = Embedded(found, host.texts) if tower == "image" else Embedded(host.pictures, found)
    there, here = (_recall_of_first(side, owners, count) for side in (pair, host))
    if there is None or here is None:
        return beside
    return beside._replace(
        pictures=count,
        captions=int((owners < count).sum()),
        recall={direction: there[direction] for direction in DIRECTIONS},
        mean_recall=mean_recall(there),
        host_mean_recall=mean_recall(here),
    )


def _side(embedded: Embedded | None, tower: Tower) -> np.ndarray | None:
    if embedded is None:
        return None
    return embedded.pictures if tower == "image" else embedded.texts


def _recall_of_first(
    embedded: Embedded, caption_to_image: np.ndarray, count: int
) -> dict[str, dict[str, float]] | None:
    """Return the recall over the first pictures and their captions; None without both towers, or without pictures."""
    if embedded.pictures is None or embedded.texts is None or not count:
        return None
    captions = int((caption_to_image < count).sum())
    ranks = rank(Embedded(embedded.pictures[:count], embedded.texts[:captions]), caption_to_image[:captions])
    return ranks.recall() if ranks else None


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
