"""Axis preprocessing: from a camera's JPEG to the image tower's input, relative to the tower itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from conaclip_edge.benchmarks.schema.speed import Finding, exactly
from conaclip_edge.benchmarks.speed.two_clocks import Timer, over, rounds
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.data.preprocess import decode, pixel_values, reduction, to_pixels

CAMERA = (4000, 3000)
QUALITY = 90
GRAIN = 4.0  # levels; brings the file to the two to four megabytes that a camera's takes
BARRED = "ViT"


def measure(
    config: SpeedConfig, towers: Mapping[str, Callable[[], object]], size: int, timer: Timer = rounds
) -> list[Finding]:
    """Time decoding and resizing relative to image towers, round by round.

    Args:
        config: the suite.
        towers: name -> runs the int8 tower on one picture; the bar is on the ratio to "ViT".
        size: of the input that the picture becomes.
        timer: times them.
    """
    findings: list[Finding] = []
    for kind, grain in (("smooth", 0.0), ("grainy", GRAIN)):
        data = camera_jpeg(grain)
        calls = {
            "reduced": lambda _, data=data: pixel_values(data, size),
            "whole": lambda _, data=data: to_pixels(decode(data), size).astype(np.float32) / 255,
            # an eighth needs next to nothing but the bit stream
            "bit stream": lambda _, data=data: _eighth(data),
        } | {name: lambda _, run=run: run() for name, run in towers.items()}
        times = timer(calls, config.rounds, config.seed)
        note = f"4000x3000, {len(data) / 1e6:.1f} MB, to {size}x{size}"
        wanted = [("reduced", name, 0.25 if name == BARRED else None) for name in towers]
        wanted += [("whole", BARRED, None), ("bit stream", BARRED, None), ("reduced", "whole", None)]
        for one, other, bar in wanted:
            if other in times:
                cpu, wall = over(times[one], times[other])
                what = f"{kind} 12-megapixel JPEG, {one} / {other}"
                findings.append(
                    Finding(axis="preprocessing", what=what, value=cpu, wall=wall, n=config.rounds, bar=bar, note=note)
                )
        findings.append(
            Finding(
                axis="preprocessing",
                what=f"{kind} 12-megapixel JPEG, mean difference of reduced and whole",
                unit="levels of 255",
                value=exactly(difference(data, size)),
                n=3 * size * size,
                note=f"reduced by {reduction(*CAMERA, size)}",
            )
        )
    return findings


def camera_jpeg(grain: float, seed: int = 0) -> bytes:
    """Return a photograph at a camera's size as JPEG.

    Args:
        grain: standard deviation in levels of the noise that a sensor adds; an enlarged photograph has none left.
        seed: of the noise.
    """
    from sklearn.datasets import load_sample_image

    photograph = Image.fromarray(load_sample_image("china.jpg"))
    side = photograph.width * CAMERA[1] // CAMERA[0]
    picture = photograph.crop((0, 0, photograph.width, side)).resize(CAMERA, Image.Resampling.LANCZOS)
    if grain:
        noise = np.random.default_rng(seed).standard_normal((CAMERA[1], CAMERA[0], 1), dtype=np.float32) * grain
        picture = Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def difference(data: bytes, size: int) -> float:
    """Return the mean absolute difference in levels between reduced and whole decoding."""
    return float(np.abs(pixel_values(data, size) * 255 - to_pixels(decode(data), size)).mean())


def _eighth(data: bytes) -> None:
    picture = Image.open(io.BytesIO(data))
    picture.draft(None, (picture.width // 8, picture.height // 8))
    picture.load()
