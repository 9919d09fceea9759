"""Benchmark suites."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import AliasChoices, Field

from conaclip_edge.config.base import Config, Name
from conaclip_edge.config.data import DataConfig


class RoundsConfig(Config):
    """How often each call is timed: in rounds in which everything that is compared runs once."""

    warmup: int = Field(3, ge=1, description="untimed calls of each")
    min_rounds: int = Field(24, ge=8, description="never fewer")
    max_rounds: int = Field(240, ge=8, description="never more")
    seconds: float = Field(4.0, gt=0, description="time after which no round beyond min_rounds is begun")
    precision: float = Field(0.01, gt=0, description="enough when every median is known to this share of itself")
    noise: float = Field(0.15, gt=0, description="a row whose times spread more (IQR / median) is marked as noisy")


class GalleryConfig(Config):
    """Which queries the report shows with the pictures that were found."""

    queries: tuple[str, ...] = Field(
        ("an animal", "something to eat", "a happy face"),
        description="texts of your own, for which no picture is the right one",
    )
    examples: int = Field(6, ge=0, description="captions taken at even distances from the split")
    failures: int = Field(6, ge=0, description="captions on which the student falls behind the teacher the most")
    thumbnail: int = Field(72, gt=15, le=256, description="pixels")


class AndroidConfig(Config):
    """Benchmark programs for a phone: builds of executor_runner and onnxruntime_perf_test for its processor."""

    executorch_runner: Path | None = Field(None, description="ExecuTorch's executor_runner with XNNPACK")
    onnx_runner: Path | None = Field(None, description="onnxruntime's onnxruntime_perf_test")
    folder: str = Field("/data/local/tmp/conaclip-edge", description="on the phone")
    threads: int = Field(1, gt=0, description="of the phone's CPU")
    runs: int = Field(100, gt=0, description="timed calls of each file")
    timeout: float = Field(300.0, gt=0, description="seconds for one adb command")


class EmulatedConfig(Config):
    """How long a bundle's files are run on an emulated device."""

    seconds: float = Field(
        60.0,
        ge=0,
        description="after which no further picture is embedded by a file; 0: only counts are made, no recall",
    )


class AnnConfig(Config):
    """How the index's graph is measured against exact search, on synthetic vectors of the student's width."""

    sizes: tuple[int, ...] = Field((10_000, 100_000, 1_000_000), description="vectors of a graph")
    precisions: tuple[Literal["f32", "f16", "i8"], ...] = Field(("i8", "f16", "f32"), description="of the vectors")
    others_up_to: int | None = Field(
        None, gt=0, description="larger graphs are measured in the first precision alone: the others take hours"
    )
    queries: int = Field(1000, gt=0, description="asked of each graph, twice; the second round is timed")
    added: int = Field(1000, gt=0, description="vectors that are added to a finished graph")
    clusters: int = Field(1000, gt=0, description="that the vectors lie in")
    latent: int = Field(48, gt=0, description="dimensions that the vectors vary in")
    spread: float = Field(0.6, gt=0, description="of a cluster, the distance of two clusters' centres being about 1.4")


Comparison = Literal[
    "teacher", "student", "plain-onnx-fp32", "plain-onnx-static", "plain-onnx", "plain-executorch", "clip-vit-b32"
]


class BenchmarkConfig(Config):
    """A benchmark suite: what is measured on a bundle, how often, and what it is compared with."""

    name: Name = Field("demo", description="of the suite, in the report")
    seed: int = Field(0, ge=0, lt=2**63, description="of the order of rounds and of resamples")
    data: DataConfig | None = Field(None, description="left out: what the student was distilled on")
    split: Literal["val", "test"] = Field("test", description="pictures that recall is measured on")
    pictures: int = Field(5000, gt=0, description="pictures of the split that recall is measured on, at most")
    targets: tuple[Literal["onnx", "executorch", "coreml", "coreai"], ...] = Field(
        ("onnx", "executorch", "coreml", "coreai"), description="whose files are measured, where the bundle has them"
    )
    precisions: tuple[Literal["int8", "fp16", "fp32"], ...] = Field(
        ("int8", "fp16", "fp32"), description="of which files are measured, where the bundle has them"
    )
    comparison: tuple[Comparison, ...] = Field(get_args(Comparison), description="rows beside the bundle's files")
    student: Path | None = Field(None, description="its checkpoint; left out: 'student' beside the bundle")
    teacher: str | None = Field(None, description="left out: the one that the student was distilled from")
    threads: tuple[int, ...] = Field((1, 0), description="CPU threads; 0 means all")
    batches: tuple[int, ...] = Field((1, 8), description="pictures or texts per call; 1 is always measured")
    full_context: bool = Field(True, description="also time texts that are padded to the context")
    inputs: int = Field(8, gt=0, description="pictures, and captions at even quantiles of the lengths, that take turns")
    rounds: RoundsConfig = RoundsConfig()
    loads: int = Field(2, gt=0, description="fresh processes in which loading is timed and memory is read")
    index: int = Field(10_000, gt=9, description="embeddings that the search stage looks through")
    bootstrap: int = Field(1000, gt=0, description="resamples of every interval")
    min_relative_recall: float = Field(0.99, description="share of the student's recall that an interval must reach")
    gallery: GalleryConfig = GalleryConfig()
    android: AndroidConfig = AndroidConfig()
    # reports of earlier versions call it arm64
    emulated: EmulatedConfig = Field(EmulatedConfig(), validation_alias=AliasChoices("emulated", "arm64"))
    ann: AnnConfig | None = Field(None, description="measures the index's graph, and nothing else")


Axis = Literal[
    "towers", "parts", "mobile", "sizes", "limit", "preprocessing", "evaluation", "step", "graph", "export", "start"
]


class SpeedConfig(Config):
    """The speed suite: ratios of interleaved runs, axis by axis, against what a user would do instead."""

    name: str = Field("speed", description="of the suite")
    axes: tuple[Axis, ...] = Field(get_args(Axis), description="which are measured, in this order")
    seed: int = Field(0, ge=0, lt=2**63, description="of the order of rounds")
    rounds: int = Field(30, ge=30, description="of every comparison")
    inputs: int = Field(8, gt=0, description="test pictures, and captions at even quantiles of the lengths")
    data: Path | None = Field(
        None, description="recipe or picture folder; left out: what the students were distilled on"
    )
    student: Path | None = Field(None, description="the bundle's checkpoint; left out: 'student' beside the bundle")
    mobile: Path = Field(Path("runs/demo/bundle"), description="bundle of a student with a mobile image tower")
    recipe: Path | None = Field(None, description="recipe whose distillation step is timed; left out: the demo's")
