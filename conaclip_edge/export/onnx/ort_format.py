"""onnxruntime's own format, written in a process whose memory looks the same every time, so that its bytes do.

onnxruntime writes its tables in the order of a hash that is seeded by addresses: two processes write two orders. One
with fixed addresses (Linux), no environment and one thread always writes the same. So that addresses stay where they
are, it neither reads nor writes compiled modules: Python allocates otherwise while it compiles them for the first time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_FIXED_ADDRESSES = 0x0040000  # ADDR_NO_RANDOMIZE of personality(2)
_SAME = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": os.devnull}
_KEPT = ("LD_LIBRARY_PATH", "PYTHONPATH")  # without which Python may not start, or not find onnxruntime


def save_ort(path: Path, level: str) -> Path:
    """Convert a model as convert_onnx_models_to_ort does; returns the path of the .ort file beside it.

    Args:
        path: of the .onnx file.
        level: name of the GraphOptimizationLevel.

    Raises:
        OSError: the file cannot be written.
    """
    # not at the top: this file also runs by itself, where the package need not be found
    from conaclip_edge.export.onnx.smaller_qlinear import make_smaller

    target = path.with_suffix(".ort")
    # in two steps: what an optimisation takes out of a graph is still named in an .ort file that is saved at once
    optimised = target.with_suffix(".ort.onnx")
    try:
        _in_own_process(path, optimised, level, "ONNX")
        make_smaller(optimised)
        _in_own_process(optimised, target, "ORT_DISABLE_ALL", "ORT")
    finally:
        optimised.unlink(missing_ok=True)
    return target


def _in_own_process(source: Path, target: Path, level: str, form: str) -> None:
    command = [sys.executable, __file__, source.name, target.name, level, form]
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    done = subprocess.run(command, cwd=source.parent, env=kept | _SAME, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        if "Failed to save" in lines[-1]:
            raise OSError(f"onnxruntime cannot write {target.name}")
        raise RuntimeError(f"onnxruntime cannot convert {source.name}: {lines[-1]}")


def _fixed_addresses() -> bool:
    """Fix the addresses of the processes that this one starts; False where they are already, or cannot be."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    system = ctypes.CDLL(None)
    now = system.personality(0xFFFFFFFF)
    return now >= 0 and not now & _FIXED_ADDRESSES and system.personality(now | _FIXED_ADDRESSES) >= 0


def _save(source: str, target: str, level: str, form: str) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = target
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.save_model_format", form)
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    if _fixed_addresses():
        sys.exit(subprocess.call([sys.executable, "-P", *sys.argv]))
    _save(*sys.argv[1:])
