"""onnxruntime's own format, written in a process whose memory looks the same every time, so that its bytes do.

onnxruntime writes its tables in the order of a hash that is seeded by addresses: two processes write two orders. One
with fixed addresses (Linux), no environment and one thread always writes the same. So that addresses stay where they
are, it neither reads nor writes compiled modules: Python allocates otherwise while it compiles them for the first time.
It gets a model as bytes, because onnxruntime keeps the path of a file, which is another in another folder.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_FIXED_ADDRESSES = 0x0040000  # ADDR_NO_RANDOMIZE of personality(2)
_ASK = 0xFFFFFFFF  # changes nothing
_SAME = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": os.devnull}
_KEPT = ("LD_LIBRARY_PATH", "PYTHONPATH")  # without which Python may not start, or not find onnxruntime


def save_ort(levels: Mapping[Path, str]) -> list[Path]:
    """Convert models as convert_onnx_models_to_ort does; returns the paths of the .ort files beside them.

    Args:
        levels: .onnx file -> name of its GraphOptimizationLevel; files of one folder.

    Raises:
        OSError: a file cannot be written.
    """
    # not at the top: this file also runs by itself, where the package need not be found
    from conaclip_edge.export.onnx.smaller_qlinear import make_smaller

    # in two steps: what an optimisation takes out of a graph is still named in an .ort file that is saved at once
    optimised = {path: path.with_suffix(".ort.onnx") for path in levels}
    made = [path.with_suffix(".ort") for path in levels]
    try:
        _in_own_process("ONNX", [(path, optimised[path], level) for path, level in levels.items()])
        for path in optimised.values():
            make_smaller(path)
        _in_own_process("ORT", [(*both, "ORT_DISABLE_ALL") for both in zip(optimised.values(), made, strict=True)])
    finally:
        for path in optimised.values():
            path.unlink(missing_ok=True)
    return made


def _in_own_process(form: str, steps: list[tuple[Path, Path, str]]) -> None:
    """Save models, each from a file to another, in a form; one process for all, as most of its time is its start."""
    from conaclip_edge.runtime.onnxruntime_errors import could_not_write  # not at the top: see save_ort

    words = [word for source, target, level in steps for word in (source.name, target.name, level)]
    command, folder = [sys.executable, "-P", __file__, form, *words], steps[0][0].parent
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    with _fixed_addresses():
        done = subprocess.run(command, cwd=folder, env=kept | _SAME, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        if could_not_write(lines[-1]):
            raise OSError(f"onnxruntime cannot write {' or '.join(words[1::3])}")
        raise RuntimeError(f"onnxruntime cannot convert {' or '.join(words[::3])}: {lines[-1]}")


@contextlib.contextmanager
def _fixed_addresses() -> Iterator[None]:
    """Let the processes that this thread starts have the same addresses every time, where the system can do that."""
    if not sys.platform.startswith("linux"):
        yield
        return
    import ctypes

    personality = ctypes.CDLL(None).personality
    before = personality(_ASK)
    if before >= 0:  # a container may forbid it
        personality(before | _FIXED_ADDRESSES)
    try:
        yield
    finally:
        if before >= 0:
            personality(before)


def _save(form: str, *words: str) -> None:
    import onnxruntime

    for source, target, level in zip(words[::3], words[1::3], words[2::3], strict=True):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = target
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.save_model_format", form)
        onnxruntime.InferenceSession(Path(source).read_bytes(), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    _save(*sys.argv[1:])
