"""The layout words-and-files on x86-64 and on arm64.

The golden texts and pictures go through its two files on this machine and in the arm64 system of `doctor --prepare
arm64`, beside the wheel of onnxruntime-extensions for arm64.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.bundle.embeddings import cosines
from conaclip_edge.bundle.golden import FOLDER, read_golden
from conaclip_edge.layouts.client import as_seen
from conaclip_edge.layouts.write import write_layout
from conaclip_edge.runtime.emulated.arm64.fetch import unpack_wheels
from conaclip_edge.runtime.emulated.arm64.system import find_arm64
from conaclip_edge.runtime.emulated.device import host_version
from conaclip_edge.runtime.emulated.qemu import counted_into

EXTENSIONS = "onnxruntime-extensions"
# runs where only numpy and onnxruntime are
_WORKER = """
import glob, os, sys, numpy, onnxruntime
library, layout, given, results = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.register_custom_ops_library(glob.glob(library)[0])
text, image = (
    onnxruntime.InferenceSession(f"{layout}/{name}.onnx", options, providers=["CPUExecutionProvider"])
    for name in ("text", "image")
)
inputs, found = numpy.load(given), {}
for row in range(int(inputs["texts"])):
    words = bytes(inputs[f"text.{row}"]).decode()
    found[f"text.{row}"], found[f"ids.{row}"] = text.run(["embedding", "ids"], {"text": numpy.array([words], object)})
for row in range(int(inputs["pictures"])):
    data = inputs[f"picture.{row}"]
    found[f"picture.{row}"], found[f"pixels.{row}"] = image.run(["embedding", "pixels"], {"image": data})
numpy.savez(results, **found)
sys.stdout.flush()
os._exit(0)
"""


def both(bundle: Path) -> dict[str, Any]:
    """Run a bundle's layout on both machines and compare them with each other and with the golden vectors."""
    golden = read_golden(bundle / FOLDER)
    texts = [text.encode() for text in golden.texts]
    named = {f"text.{row}": np.frombuffer(data, np.uint8) for row, data in enumerate(texts)}
    named |= {f"picture.{row}": np.frombuffer(data, np.uint8) for row, data in enumerate(golden.pictures)}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        write_layout(bundle, "words-and-files", home / "layout")
        np.savez(home / "given.npz", texts=len(texts), pictures=len(golden.pictures), **named)
        here = _run((sys.executable,), (), str(Path(_own_library())), home)
        device = find_arm64()
        wanted = f"{EXTENSIONS}=={host_version(EXTENSIONS)}"
        (home / "site").mkdir()
        unpack_wheels([wanted], device.versions["python"], home / "wheels", home / "site")
        library = str(home / "site" / "onnxruntime_extensions" / "_extensions_pydll*.so")
        command = counted_into(device.command, "/dev/null")
        there = _run(command, device.sites["onnx"], library, home)
    pictures = range(len(golden.pictures))
    return {
        "device": device.label,
        "extensions": host_version(EXTENSIONS),
        "texts": len(texts),
        "ids_same": sum(np.array_equal(here[f"ids.{row}"], there[f"ids.{row}"]) for row in range(len(texts))),
        "ids_golden": sum(
            as_seen(there[f"ids.{row}"][0], int(ids[-1])) == ids.tolist() for row, ids in enumerate(golden.ids)
        ),
        "text_cosine": _least(here, there, "text", len(texts)),
        "pictures": len(pictures),
        "pixels_differ": max(
            int(np.abs(here[f"pixels.{row}"].astype(int) - there[f"pixels.{row}"]).max()) for row in pictures
        ),
        "picture_cosine": _least(here, there, "picture", len(pictures)),
    }


def sentence(found: dict[str, Any]) -> str:
    """Say what both machines found."""
    return (
        f"words-and-files, {found['device']} beside x86-64: the ids of {found['ids_same']} of {found['texts']} golden "
        f"texts are the same on both, and those of {found['ids_golden']} are the bundle's. The least cosine of a "
        f"text's two embeddings is {found['text_cosine']:.5f}, of a picture's {found['picture_cosine']:.5f} "
        f"(n = {found['pictures']}); a pixel differs by {found['pixels_differ']} of 255 levels at most."
    )


def _run(command: tuple[str, ...], sites: tuple[str, ...], library: str, home: Path) -> dict[str, np.ndarray]:
    results = home / f"results-{len(sites)}.npz"
    arguments = [library, str(home / "layout"), str(home / "given.npz"), str(results)]
    environment = os.environ | ({"PYTHONPATH": os.pathsep.join(sites)} if sites else {})
    subprocess.run([*command, "-c", _WORKER, *arguments], check=True, env=environment)
    with np.load(results) as found:
        return dict(found)


def _own_library() -> str:
    import onnxruntime_extensions

    return str(onnxruntime_extensions.get_library_path())


def _least(here: dict[str, np.ndarray], there: dict[str, np.ndarray], name: str, count: int) -> float:
    one, other = (np.concatenate([found[f"{name}.{row}"] for row in range(count)]) for found in (here, there))
    return float(cosines(one, other).min())
