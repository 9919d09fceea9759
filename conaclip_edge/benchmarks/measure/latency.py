"""Latency of everything that is compared, measured in one process per thread setting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from conaclip_edge.benchmarks.measure.models import Spec, open_model
from conaclip_edge.benchmarks.measure.rounds import Call, interleave, ratio, summarise
from conaclip_edge.benchmarks.measure.stages import Stages, random_index, stage_times
from conaclip_edge.benchmarks.schema.row import Latency
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.data.preprocess import decode
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.system.progress import say


@dataclass(frozen=True)
class Condition:
    """What is timed: a tower, pictures or texts per call, and how long the texts are."""

    tower: Literal["image", "text"]
    batch: int
    texts: Literal["captions", "full context"] | None

    def __str__(self) -> str:
        what = "pictures" if self.texts is None else f"texts ({self.texts})"
        return f"{what}, batch {self.batch}"


@dataclass
class Timings:
    """What was timed of one candidate.

    Attributes:
        latencies: one per condition.
        stages: "picture" or "query" -> stage -> median milliseconds, in order of time.
        refused: conditions that it cannot do, with the reason.
    """

    latencies: list[Latency] = field(default_factory=list)
    stages: Stages = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def conditions(config: BenchmarkConfig) -> list[Condition]:
    """List what a suite times, the headline conditions first."""
    found = [Condition("image", 1, None), Condition("text", 1, "captions")]
    if config.full_context:
        found.append(Condition("text", 1, "full context"))
    for batch in config.batches:
        if batch > 1:
            found += [Condition("image", batch, None), Condition("text", batch, "captions")]
    return found


def measure_latency(
    specs: list[Spec],
    pictures: list[bytes],
    captions: list[str],
    threads: int,
    with_stages: bool,
    config: BenchmarkConfig,
) -> dict[str, Timings]:
    """Open all candidates side by side and time them in interleaved rounds, condition by condition.

    Args:
        specs: natively run candidates; ratios are taken to those that are no files of the bundle.
        pictures: encoded bytes of `config.inputs` pictures.
        captions: as many captions.
        threads: CPU threads.
        with_stages: also time the stages of the exported files.
        config: the suite.

    Returns:
        Row of the report -> its timings.
    """
    encoders = {spec.row: open_model(spec, threads) for spec in specs}
    timings = {spec.row: Timings() for spec in specs}
    for condition in conditions(config):
        # a large model at batch 8 would take the time of all others together and is nobody's question
        taking_part = [spec for spec in specs if condition.batch == 1 or spec.kind in ("files", "student")]
        calls: dict[str, Call] = {}
        for spec in taking_part:
            call, reason = _call(encoders[spec.row], condition, pictures, captions)
            if call:
                calls[spec.row] = call
            elif reason:
                timings[spec.row].refused.append(f"{condition}: {reason}")
        if not calls:
            continue
        say(f"timing {condition}, {threads} threads: {len(calls)} rows")
        times = interleave(calls, config.inputs, config.rounds, config.seed)
        references = [spec.row for spec in taking_part if spec.row in calls and not spec.shipped]
        for row, values in times.items():
            latency = summarise(
                values,
                config.inputs,
                config.rounds.noise,
                tower=condition.tower,
                threads=threads,
                texts=condition.texts,
                warmup=config.rounds.warmup,
                batch=condition.batch,
                ratio_to={other: ratio(values, times[other]) for other in references if other != row},
            )
            timings[row].latencies.append(latency)
    if with_stages:
        shipped = {spec.row: encoders[spec.row] for spec in specs if spec.shipped}
        for row, stages in _stages(shipped, pictures, captions, config).items():
            timings[row].stages = stages
    return timings


def _stages(
    encoders: dict[str, Encoder], pictures: list[bytes], captions: list[str], config: BenchmarkConfig
) -> dict[str, Stages]:
    if not encoders:
        return {}
    width = next(iter(encoders.values())).embed_texts(captions[:1]).shape[1]
    index = random_index(config.index, width, config.seed)
    return stage_times(encoders, pictures, captions, index, config.rounds.min_rounds)


def _call(
    encoder: Encoder, condition: Condition, pictures: list[bytes], captions: list[str]
) -> tuple[Call | None, str]:
    """Make the function that is timed, its inputs prepared; None and a reason if the encoder cannot do it."""
    run = encoder.image if condition.tower == "image" else encoder.text
    if run is None:
        return None, ""
    most = getattr(run, "batch", None)  # of a file; a model in torch takes any number
    if most is not None and most < condition.batch:
        return None, f"not timed, the file takes {most} per call"
    batches: list[Any] = []
    for first in range(len(pictures) if condition.tower == "image" else len(captions)):
        numbers = range(first, first + condition.batch)
        if condition.tower == "image":
            batches.append(encoder.pixels([decode(pictures[number % len(pictures)]) for number in numbers]))
        else:
            texts = [captions[number % len(captions)] for number in numbers]
            batches.append(encoder.tokens(texts, condition.texts == "full context"))
    try:
        output = run(batches[0])
    except Exception as error:  # each runtime has its own for a shape that a file was not exported for
        if condition.batch == 1:
            raise
        reason = " ".join(str(error).split()).partition(": [")[0]  # what follows is the runtime's own error code
        return None, f"not timed, {reason[:120]}"
    if not np.isfinite(output).all():
        return None, "gives NaN or infinity"
    return lambda number: run(batches[number]), ""
