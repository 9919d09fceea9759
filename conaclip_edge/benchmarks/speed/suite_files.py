"""The files that a speed suite compares, and the pictures and texts that they run on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process
from conaclip_edge.benchmarks.measure.recall import typical
from conaclip_edge.benchmarks.schema.speed import Finding
from conaclip_edge.benchmarks.speed.axes import towers
from conaclip_edge.benchmarks.speed.plain_exports import Files, clip_onnx, plain_executorch_files, plain_onnx_files
from conaclip_edge.benchmarks.speed.two_clocks import Times
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.config.load import data_config
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.preprocess import pixel_values
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.system.progress import say

IMAGE = "image ONNX int8"
MOBILE = "mobile image ONNX int8"


class SuiteFiles:
    """The files of a speed suite and their inputs, made when an axis first asks for them.

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
        self.pairs = read_pairs(data_config(config.data) if config.data else recorded_data(bundle))
        rows = self.pairs.rows("test")
        self.pictures = [self.pairs.read(int(row)) for row in rows[:: max(1, len(rows) // config.inputs)]][
            : config.inputs
        ]

    @cached_property
    def onnx(self) -> Files:
        """The plain ONNX files."""
        return self.export(plain_onnx_files, "onnx")

    @cached_property
    def executorch(self) -> Files:
        """ExecuTorch's own int8 files."""
        return self.export(plain_executorch_files, "executorch")

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
        """Image towers side by side: the axes towers, mobile and limit read their ratios from the same rounds."""
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

    def export(self, make: Callable[[Path, Path], Files], name: str) -> Files:
        """Return the files that a function makes of the student, in a process of its own.

        Args:
            make: from the checkpoint and a folder to name -> file.
            name: of the folder.
        """
        folder = self.scratch / name
        folder.mkdir()
        say(f"exporting the student: {name}")
        return in_fresh_process(make, self.student, folder)
