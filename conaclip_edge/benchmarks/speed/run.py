"""The speed suite from a bundle to speed.json and speed.md: each axis in turn, all that is compared side by side."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process
from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.benchmarks.measure.recall import typical
from conaclip_edge.benchmarks.report.speed_table import page, speed_text
from conaclip_edge.benchmarks.schema.speed import Finding, SpeedReport, exactly
from conaclip_edge.benchmarks.speed.axes import cli_start as start
from conaclip_edge.benchmarks.speed.axes import evaluation, preprocessing, sizes, towers
from conaclip_edge.benchmarks.speed.axes import executorch_parts as parts
from conaclip_edge.benchmarks.speed.axes import export as exporting
from conaclip_edge.benchmarks.speed.axes import graph_step as graph
from conaclip_edge.benchmarks.speed.axes import int8_peak as limit
from conaclip_edge.benchmarks.speed.axes import training_step as step
from conaclip_edge.benchmarks.speed.plain_exports import (
    Files,
    clip_onnx,
    clip_text_bytes,
    plain_executorch_files,
    plain_onnx_files,
)
from conaclip_edge.benchmarks.speed.two_clocks import Times
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.preprocess import pixel_values
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.evaluate import evaluate, recorded_data
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.system.files import atomic_folder
from conaclip_edge.system.progress import say

IMAGE = "image ONNX int8"
MOBILE = "mobile image ONNX int8"


class Bench:
    """The files of a suite and their inputs, made when an axis first asks for them.

    Args:
        bundle: of a student with a ViT image tower, with ONNX and ExecuTorch int8 files.
        config: the suite.
        scratch: folder for the plain exports.
    """

    def __init__(self, bundle: Path, config: SpeedConfig, scratch: Path):
        self.bundle, self.config, self.scratch = bundle, config, scratch
        self.manifest, self.mobile = read_manifest(bundle), read_manifest(config.mobile)
        self.student = config.student or bundle.resolve().parent / "student"
        if not (self.student / "config.json").is_file():
            raise UserError(
                f"no checkpoint at {self.student}, of which the plain exports are made. Name it: --set student=FOLDER"
            )
        self.pairs = read_pairs(recorded_data(bundle))
        rows = self.pairs.rows("test")
        self.pictures = [self.pairs.read(int(row)) for row in rows[:: max(1, len(rows) // config.inputs)]][
            : config.inputs
        ]

    @cached_property
    def onnx(self) -> Files:
        """The plain ONNX files."""
        return self.made(plain_onnx_files, "onnx")

    @cached_property
    def executorch(self) -> Files:
        """ExecuTorch's own int8 files."""
        return self.made(plain_executorch_files, "executorch")

    @cached_property
    def texts(self) -> list[np.ndarray]:
        """Ids [1, L] of captions at even quantiles of the test split's lengths."""
        tokenizer = TextTokenizer(self.bundle / "tokenizer.json", self.manifest.context)
        captions = [text for row in self.pairs.rows("test") for text in self.pairs.captions[row]]
        chosen = typical(captions, [len(tokenizer.ids(text)) for text in captions], self.config.inputs)
        return [np.asarray([tokenizer.ids(text)], dtype=np.int32) for text in chosen]

    @cached_property
    def padded(self) -> list[np.ndarray]:
        """The same, padded to the context."""
        room = self.manifest.context
        return [
            np.pad(ids, ((0, 0), (0, room - ids.shape[1])), constant_values=self.manifest.pad_id) for ids in self.texts
        ]

    def pixels(self, size: int) -> list[np.ndarray]:
        """Return the test pictures as input [1, 3, size, size]."""
        return [pixel_values(data, size)[None] for data in self.pictures]

    @cached_property
    def image_times(self) -> tuple[list[Finding], dict[str, Times]]:
        """Image towers side by side: the axes `towers`, `mobile` and `limit` read their ratios from the same rounds."""
        say("image towers: plain exports")
        clip = in_fresh_process(clip_onnx, self.scratch)["clip image fp32"]
        files = {
            IMAGE: self.bundle / "onnx" / "image.int8.onnx",
            "image plain ONNX int8": self.onnx["image int8"],
            "image plain ONNX fp32": self.onnx["image fp32"],
            "image ExecuTorch int8": self.bundle / "executorch" / "image.int8.pte",
            "image ExecuTorch int8 with SDPA": self.executorch["image int8"],
            MOBILE: self.config.mobile / "onnx" / "image.int8.onnx",
            "CLIP ViT-B/32 image ONNX fp32": clip,
        }
        sizes_of = dict.fromkeys(files, self.manifest.image_size) | {MOBILE: self.mobile.image_size}
        sizes_of["CLIP ViT-B/32 image ONNX fp32"] = 224
        pixels = {size: self.pixels(size) for size in set(sizes_of.values())}
        bars = [
            (IMAGE, "image plain ONNX int8", 0.80),
            (IMAGE, "image plain ONNX fp32", 0.43),
            ("image ExecuTorch int8", "image plain ONNX int8", 0.75),
            ("image ExecuTorch int8", "image ExecuTorch int8 with SDPA", 0.40),
            (MOBILE, "CLIP ViT-B/32 image ONNX fp32", 0.20),
            (MOBILE, IMAGE, 0.50),
        ]
        say(f"image towers: {len(files)} files, {self.config.rounds} rounds")
        inputs = {name: pixels[size] for name, size in sizes_of.items()}
        return towers.measure("towers", files, inputs, bars, self.config.rounds, self.config.seed)

    def made(self, make: Callable[[Path, Path], Files], name: str) -> Files:
        """Return the files that a function makes of the student, in a process of its own."""
        folder = self.scratch / name
        folder.mkdir()
        say(f"exporting the student: {name}")
        return in_fresh_process(make, self.student, folder)


def _towers(bench: Bench) -> list[Finding]:
    found = [one for one in bench.image_times[0] if not one.what.startswith("mobile")]
    files = {
        "text ONNX int8": bench.bundle / "onnx" / "text.int8.onnx",
        "text ExecuTorch int8": bench.bundle / "executorch" / "text.int8.pte",
        "text plain ONNX int8, padded": bench.onnx["text int8"],
        "text plain ONNX int8, same length": bench.onnx["text int8"],
    }
    inputs = dict.fromkeys(files, bench.texts) | {"text plain ONNX int8, padded": bench.padded}
    bars = [
        ("text ONNX int8", "text plain ONNX int8, padded", 0.20),
        ("text ExecuTorch int8", "text plain ONNX int8, padded", 0.20),
        ("text ONNX int8", "text plain ONNX int8, same length", 0.80),
        ("text ExecuTorch int8", "text plain ONNX int8, same length", 0.60),
    ]
    say(f"text towers: {len(files)} files, {bench.config.rounds} rounds")
    texts, _ = towers.measure("towers", files, inputs, bars, bench.config.rounds, bench.config.seed)
    return [*found, *texts, *sizes.cosines(bench.manifest)]


def _parts(bench: Bench) -> list[Finding]:
    files = bench.made(parts.without_parts, "parts")
    pixels = bench.pixels(bench.manifest.image_size)
    return parts.measure(bench.student, files, pixels, bench.config.rounds, bench.config.seed)


def _mobile(bench: Bench) -> list[Finding]:
    found = [one.model_copy(update={"axis": "mobile"}) for one in bench.image_times[0] if one.what.startswith("mobile")]
    recalls = {}
    for name, bundle in (("mobile", bench.config.mobile), ("ViT", bench.bundle)):
        measured = evaluate(bundle, None, "test", "onnx")
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


def _limit(bench: Bench) -> list[Finding]:
    top = limit.peak(bench.config.rounds, bench.config.seed)
    times = bench.image_times[1]
    found = [Finding(axis="limit", what="int8 peak of one thread", unit="G/s", value=top, n=bench.config.rounds)]
    for name, bundle, size, bar in (
        (IMAGE, bench.bundle, bench.manifest.image_size, 0.5),
        (MOBILE, bench.config.mobile, bench.mobile.image_size, None),
    ):
        given = np.zeros((1, 3, size, size), dtype=np.float32)
        counted = limit.multiplications(bundle / "onnx" / "image.int8.onnx", given)
        found.append(limit.share(times[name], counted, top, name, bar))
    return found


def _preprocessing(bench: Bench) -> list[Finding]:
    files = {"ViT": bench.bundle, "mobile": bench.config.mobile}
    opened = {name: folder / "onnx" / "image.int8.onnx" for name, folder in files.items()}
    size = bench.manifest.image_size
    inputs = {"ViT": bench.pixels(size)[:1], "mobile": bench.pixels(bench.mobile.image_size)[:1]}
    runs = {name: lambda call=call: call(0) for name, call in towers.calls(opened, inputs).items()}
    return preprocessing.measure(bench.config, runs, size)


AXES: dict[str, Callable[[Bench], list[Finding]]] = {
    "towers": _towers,
    "parts": _parts,
    "mobile": _mobile,
    "sizes": lambda bench: sizes.measure(bench.manifest, clip_text_bytes()),
    "limit": _limit,
    "preprocessing": _preprocessing,
    "evaluation": lambda bench: evaluation.measure(bench.config),
    "step": lambda bench: step.measure(bench.config),
    "graph": lambda bench: graph.measure(bench.config),
    "export": lambda bench: exporting.measure(bench.config, bench.student),
    "start": lambda bench: start.measure(bench.config),
}


def run_speed(bundle: Path, config: SpeedConfig, out: Path) -> dict[str, Any]:
    """Measure every axis of a speed suite and write speed.json and speed.md.

    Args:
        bundle: of a student with a ViT image tower; its checkpoint is `student` beside it or the suite's.
        config: the suite.
        out: folder of the two files; an older one is replaced at the end.

    Returns:
        The content of speed.json.

    Raises:
        UserError: no bundle, no checkpoint, or a file that an axis needs is not in the bundle.
    """
    machine = environment()
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as scratch:
        bench = Bench(bundle, config, Path(scratch))
        for axis in config.axes:
            say(f"axis {axis}")
            findings += AXES[axis](bench)
    report = SpeedReport(
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        environment=machine,
        suite=config,
        models={"ViT": bench.manifest.name, "mobile": bench.mobile.name},
        findings=tuple(findings),
    )
    with atomic_folder(out) as folder:
        (folder / "speed.json").write_text(speed_text(report), "utf-8")
        (folder / "speed.md").write_text(f"# Speed\n\n{page(report)}\n", "utf-8")
    content: dict[str, Any] = json.loads(speed_text(report))
    return content
