"""The speed suite from a bundle to speed.json and speed.md: each axis in turn, all that is compared side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.benchmarks.report.new_report import now
from conaclip_edge.benchmarks.report.write import write_speed
from conaclip_edge.benchmarks.schema.speed import Finding, SpeedReport, exactly
from conaclip_edge.benchmarks.speed.axes import (
    cli_start,
    evaluation,
    executorch_parts,
    export,
    graph_step,
    int8_peak,
    preprocessing,
    sizes,
    towers,
    training_step,
)
from conaclip_edge.benchmarks.speed.plain_exports import clip_text_bytes
from conaclip_edge.benchmarks.speed.suite_files import IMAGE, MOBILE, SuiteFiles
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.evaluation.evaluate import evaluate
from conaclip_edge.system.progress import say


def _towers(suite: SuiteFiles) -> list[Finding]:
    images = [one for one in suite.image_times[0] if not one.what.startswith("mobile")]
    files = {
        "text ONNX int8": suite.bundle / "onnx" / "text.int8.onnx",
        "text ExecuTorch int8": suite.bundle / "executorch" / "text.int8.pte",
        "text plain ONNX int8, padded": suite.onnx["text int8"],
        "text plain ONNX int8, same length": suite.onnx["text int8"],
    }
    inputs = dict.fromkeys(files, suite.texts) | {"text plain ONNX int8, padded": suite.padded}
    bars = [
        ("text ONNX int8", "text plain ONNX int8, padded", 0.20),
        ("text ExecuTorch int8", "text plain ONNX int8, padded", 0.20),
        ("text ONNX int8", "text plain ONNX int8, same length", 0.80),
        ("text ExecuTorch int8", "text plain ONNX int8, same length", 0.60),
    ]
    say(f"text towers: {len(files)} files, {suite.config.rounds} rounds")
    texts, _ = towers.measure("towers", files, inputs, bars, suite.config.rounds, suite.config.seed)
    return [*images, *texts, *sizes.cosines(suite.manifest)]


def _executorch_parts(suite: SuiteFiles) -> list[Finding]:
    files = suite.export(executorch_parts.without_parts, "parts")
    pixels = suite.pixels(suite.manifest.image_size)
    return executorch_parts.measure(suite.student, files, pixels, suite.config.rounds, suite.config.seed)


def _mobile(suite: SuiteFiles) -> list[Finding]:
    found = [one.model_copy(update={"axis": "mobile"}) for one in suite.image_times[0] if one.what.startswith("mobile")]
    recalls = {}
    for name, bundle in (("mobile", suite.config.mobile), ("ViT", suite.bundle)):
        measured = evaluate(bundle, suite.config.data, "test", "onnx")
        recalls[name] = (measured.mean_recall, measured.dataset.pictures)
    mobile, vit = recalls["mobile"][0], recalls["ViT"][0]
    return [
        *found,
        Finding(
            axis="mobile",
            what="mean recall, mobile student minus ViT student, both ONNX int8",
            unit="points",
            value=exactly(mobile - vit),
            n=recalls["mobile"][1],
            bar=0.0,
            most=False,
            note=f"test split, {mobile:.1f} % and {vit:.1f} %",
        ),
    ]


def _int8_peak(suite: SuiteFiles) -> list[Finding]:
    top = int8_peak.peak(suite.config.rounds, suite.config.seed)
    times = suite.image_times[1]
    found = [Finding(axis="limit", what="int8 peak of one thread", unit="G/s", value=top, n=suite.config.rounds)]
    for name, bundle, size, bar in (
        (IMAGE, suite.bundle, suite.manifest.image_size, 0.5),
        (MOBILE, suite.config.mobile, suite.mobile.image_size, None),
    ):
        given = np.zeros((1, 3, size, size), dtype=np.float32)
        counted = int8_peak.multiplications(bundle / "onnx" / "image.int8.onnx", given)
        found.append(int8_peak.share(times[name], counted, top, name, bar))
    return found


def _preprocessing(suite: SuiteFiles) -> list[Finding]:
    files = {"ViT": suite.bundle, "mobile": suite.config.mobile}
    opened = {name: folder / "onnx" / "image.int8.onnx" for name, folder in files.items()}
    size = suite.manifest.image_size
    inputs = {"ViT": suite.pixels(size)[:1], "mobile": suite.pixels(suite.mobile.image_size)[:1]}
    runs = {name: lambda call=call: call(0) for name, call in towers.calls(opened, inputs).items()}
    return preprocessing.measure(suite.config, runs, size)


AXES: dict[str, Callable[[SuiteFiles], list[Finding]]] = {
    "towers": _towers,
    "parts": _executorch_parts,
    "mobile": _mobile,
    "sizes": lambda suite: sizes.measure(suite.manifest, clip_text_bytes()),
    "limit": _int8_peak,
    "preprocessing": _preprocessing,
    "evaluation": lambda suite: evaluation.measure(suite.config),
    "step": lambda suite: training_step.measure(suite.config),
    "graph": lambda suite: graph_step.measure(suite.config),
    "export": lambda suite: export.measure(suite.config, suite.student),
    "start": lambda suite: cli_start.measure(suite.config),
}


def run_speed(bundle: Path, config: SpeedConfig, out: Path) -> SpeedReport:
    """Measure every axis of a speed suite and write speed.json and speed.md.

    Args:
        bundle: of a student with a ViT image tower; its checkpoint is `student` beside it or the suite's.
        config: the suite.
        out: folder of the two files; an older one is replaced at the end.

    Raises:
        UserError: no bundle, no checkpoint, or a file that an axis needs is not in the bundle.
    """
    machine = environment()
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as scratch:
        suite = SuiteFiles(bundle, config, Path(scratch))
        for axis in config.axes:
            say(f"axis {axis}")
            findings += AXES[axis](suite)
    report = SpeedReport(
        created=now(),
        environment=machine,
        suite=config,
        models={"ViT": suite.manifest.name, "mobile": suite.mobile.name},
        findings=tuple(findings),
    )
    write_speed(report, out)
    return report
