"""A report made by hand, with what a real one has: rows of all groups, noise, a reference row, a gallery."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from conaclip_edge.benchmarks.measure.rounds import ratio, summarise
from conaclip_edge.benchmarks.schema.report import SCHEMA, BenchmarkReport, parse_report
from conaclip_edge.benchmarks.schema.row import Tower
from conaclip_edge.benchmarks.suite.gallery import thumbnail

HOST = "AMD EPYC, 2 cores, Linux"
INKS = ("#c0392b", "#2471a3", "#1e8449", "#b7950b", "#7d3c98", "#d35400")
NAMES = ("red disc", "blue disc", "green disc", "yellow disc", "violet disc", "orange disc")
FILES = {"onnx-int8": ("ONNX int8", 2.9, 0.62), "executorch-int8": ("ExecuTorch int8", 2.1, 0.44)}
OTHERS = {
    "student-fp32": ("Student float32", 8.9, 2.8),
    "teacher-fp32": ("Teacher float32", 31.0, 9.5),
    "plain-onnx": ("Plain ONNX int8 (dynamic)", 6.4, 1.5),
    "clip-vit-b32": ("CLIP ViT-B/32 float32", 118.0, 41.0),
}
TEXT_TITLE = 'a caption with <script>alert("x")</script> & "quotes"'


def recall(top: float) -> dict[str, dict[str, float]]:
    return {"t2i": {"1": top / 3, "5": top / 1.4, "10": top}, "i2t": {"1": top / 2.8, "5": top / 1.5, "10": top - 1.5}}


def mean(values: dict[str, dict[str, float]]) -> float:
    return float(np.mean([one for way in values.values() for one in way.values()]))


def share(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.012, "high": value + 0.011}


def relative(value: float) -> dict[str, Any]:
    return {"t2i": share(value), "i2t": share(value - 0.002)}


def times(middle: float, rounds: int = 64, spread: float = 0.05, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng([seed, int(1000 * middle)])
    return middle * np.exp(spread * random.standard_normal(rounds))


def latency(
    middle: float, tower: Tower, cold: bool, batch: int = 1, spread: float = 0.05, threads: int = 1
) -> dict[str, Any]:
    reference = times(31.0 if tower == "image" else 9.5, seed=1)
    found = times(middle, spread=spread)
    timed = summarise(
        found,
        8,
        0.15,
        tower=tower,
        threads=threads,
        texts="captions" if tower == "text" else None,
        warmup=5,
        batch=batch,
        ratio_to={"teacher-fp32": ratio(found, reference)},
    )
    return timed.model_dump() | {"cold_load": 41.5 if cold else None, "first_call": 5.25 if cold else None}


def row(name: str, label: str, group: str, image: float, text: float, **more: Any) -> dict[str, Any]:
    files = group == "files"
    kind = name.removeprefix("plain-").split("-")[0]
    exported = files or name.startswith("plain-")
    found = recall({"teacher-fp32": 78.4, "student-fp32": 61.2, "plain-onnx": 55.9}.get(name, 61.0))
    size = {"teacher-fp32": (18.1e6, 90.3e6), "student-fp32": (3.5e6, 8.1e6), "clip-vit-b32": (351e6, 254e6)}
    image_bytes, text_bytes = (int(value) for value in size.get(name, (0.9e6, 2.1e6)))
    values = {
        "id": name,
        "label": label,
        "group": group,
        "host": HOST,
        "model": "conaclip-s0" if files else name,
        "target": kind if exported else "torch",
        "precision": "int8" if files or name in ("plain-onnx", "plain-onnx-static") else "fp32",
        "format": {"onnx": "onnx", "executorch": "pte", "coreml": "mlpackage"}[kind] if exported else "",
        "weights": "trained",
        "executed": "native",
        "size_bytes": {"image": image_bytes, "text": text_bytes, "total": image_bytes + text_bytes},
        "recall": found,
        "mean_recall": mean(found),
        "relative_recall": {"student": relative(0.997), "teacher": relative(0.781)},
        "latency_ms": {"image": latency(image, "image", files), "text": latency(text, "text", files, spread=0.3)},
        "more_latency": [latency(7 * image, "image", False, batch=8), latency(image / 1.7, "image", False, threads=2)],
        "peak_rss_bytes": {"image": 96_000_000, "text": 88_000_000, "both": 103_000_000, "runtime": 71_000_000},
    }
    return values | more


def device_row(name: str, label: str, instructions: float) -> dict[str, Any]:
    """A file that was run on arm64's kernels."""
    found = recall(60.5)
    tower = {
        "golden": 0.9981,
        "golden_passed": True,
        "to_student": 0.9993,
        "to_host": 0.99997,
        "to_host_least": 0.9991,
        "pictures": 64,
        "captions": 130,
        "recall": found,
        "mean_recall": mean(found),
        "host_mean_recall": mean(found) + 0.25,
        "instructions": {
            "median": instructions,
            "low": 0.999 * instructions,
            "high": 1.002 * instructions,
            "n": 5,
            "start": int(2.5 * instructions),
            "ids": None,
        },
        "runtime_bytes": 141_000_000,
        "peak_bytes": 193_000_000,
    }
    values = row(name, label, "files", 1, 1) | {"latency_ms": {}, "more_latency": [], "peak_rss_bytes": None}
    values |= {"id": f"{name}-arm64", "device": "arm64 (emulated Cortex-A76)", "executed": "emulated"}
    values |= {"recall": None, "mean_recall": None, "relative_recall": {}}
    return values | {"on_device": {"image": tower, "text": tower | {"instructions": None}}}


def accelerators() -> list[dict[str, Any]]:
    """What two accelerators take of a file, as the notes of a manifest have it; the second was not checked."""
    nnapi = {"name": "NNAPI", "taken": 67, "nodes": 68, "pieces": 2, "left": ["ReduceSumSquare"], "symbolic": 0}
    return [
        nnapi | {"source": "checker 1.2", "reason": ""},
        {"name": "QNN", "source": "partitioner 3.4", "reason": "its partitioner does not open here: no SDK"},
    ]


def sample_values() -> dict[str, Any]:
    """The content of a report.json."""
    rows = [
        row(
            name,
            label,
            "files",
            image,
            text,
            alone={tower: {"recall": recall(61.1), "relative_recall": relative(0.999)} for tower in ("image", "text")},
            stages={
                "picture": {"decode": 1.1, "resize": 0.4, "tower": image},
                "query": {"tokenise": 0.05, "tower": text, "search": 0.9},
            },
            coverage={"image": {"accelerated": "int8 kernels", "inside": 31, "outside": {"Conv": 4, "Clip": 9}}},
            accelerators={"image": accelerators()},
        )
        for name, (label, image, text) in FILES.items()
    ]
    reference = row("coreml-int8", "Core ML int8", "files", 1, 1, executed="reference")
    reference |= {"latency_ms": {}, "more_latency": [], "peak_rss_bytes": None}
    reference["notes"] = ["no Core ML on this system: run by the reference interpreter"]
    others = [row(name, label, "comparison", image, text) for name, (label, image, text) in OTHERS.items()]
    others[-1] |= {"recall": None, "mean_recall": None, "relative_recall": {}, "weights": "random"}
    training = []
    for name, top in (("teacher", 78.4), ("infonce", 52.1), ("motis", 49.0), ("conaclip", 61.2)):
        training.append(
            {
                "id": name,
                "label": name,
                "group": "training",
                "host": HOST,
                "model": name,
                "target": "torch",
                "precision": "fp32",
                "format": "",
                "weights": "trained",
                "executed": "native",
                "size_bytes": None,
                "recall": recall(top),
                "mean_recall": mean(recall(top)),
                "equal_budget": {"split": "test", "seeds": 1, "spread": None},
            }
        )
    return {
        "schema": SCHEMA,
        "created": "2025-11-24T12:00:00Z",
        "model": {
            "name": "conaclip-s0",
            "embedding_space": "ab" * 32,
            "digest": "ef" * 32,
            "bundle": "runs/demo/bundle",
            "embed_dim": 384,
            "image_size": 96,
            "context": 32,
            "parameters": {"image": 870_000, "text": 2_030_000},
        },
        "suite": {"name": "demo"},
        "environment": {
            "label": HOST,
            "kind": "host",
            "cpu": "AMD EPYC",
            "isa": ["avx2", "fma"],
            "cores": 2,
            "memory_bytes": 25_000_000_000,
            "os": "Linux 6.1 x86_64",
            "virtual": True,
            "load": 1.5,
            "versions": {"python": "3.11.2", "torch": "2.13.0"},
        },
        "dataset": {
            "name": "openmoji-family",
            "split": "test",
            "pictures": 178,
            "captions": 512,
            "fingerprint": "cd" * 32,
            "licence": "Pictures: OpenMoji, CC BY-SA 4.0.",
            "lengths": [float(3 + number // 2) for number in range(21)],
        },
        "ship": "executorch-int8",
        "rows": [*rows, reference, *others, *training],
        "gallery_row": "executorch-int8",
        "gallery": [
            query("a big red disc", "example", 0, 1),
            query(TEXT_TITLE, "failure", 3, 9),
            query("sea", "typed", 2, None),
        ],
        "pictures": {name: picture(ink) for name, ink in zip(NAMES, INKS, strict=True)},
    }


def query(text: str, kind: str, right: int, student: int | None) -> dict[str, Any]:
    order = [right, *(picture_number for picture_number in range(6) if picture_number != right)]
    later = [*order[1:], order[0]]
    lists = {"teacher": order[:5], "student": order[:5] if student == 1 else later[:5]}
    return {
        "text": text,
        "kind": kind,
        "key": None if student is None else NAMES[right],
        "rank": {} if student is None else {"teacher": 1, "student": student},
        "top": {
            side: [
                {
                    "key": NAMES[picture_number],
                    "caption": NAMES[picture_number],
                    "score": 0.5,
                    "right": picture_number == right and student is not None,
                }
                for picture_number in pictures
            ]
            for side, pictures in lists.items()
        },
    }


def picture(ink: str) -> str:
    drawn = Image.new("RGB", (96, 96), "white")
    ImageDraw.Draw(drawn).ellipse((16, 16, 80, 80), fill=ink)
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    return thumbnail(buffer.getvalue(), 72, 10_000)


def sample_report() -> BenchmarkReport:
    return parse_report(sample_values(), "the sample")
