"""Opening an exported file with the runtime that fits it."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.tower import Tower
from conaclip_edge.system.extras import extras_needed


@extras_needed()
def open_tower(path: Path, threads: int = 1) -> Tower:
    """Load an exported tower with the runtime that fits its suffix.

    Args:
        path: .onnx, .ort, .mlpackage or .pte.
        threads: CPU threads of the runtime.

    Raises:
        UserError: no such file, no runtime for its kind, or the runtime refuses it.
        NotInstalled: its runtime's extra is not installed.
    """
    if not path.exists():
        raise UserError(f"no exported tower at {path}.")
    if path.suffix in (".onnx", ".ort"):
        from conaclip_edge.runtime.onnx import OnnxTower

        return OnnxTower(path, threads)
    if path.suffix == ".mlpackage":
        from conaclip_edge.runtime.coreml import open_coreml

        return open_coreml(path, threads)
    if path.suffix == ".pte":
        from conaclip_edge.runtime.executorch import ExecutorchTower

        return ExecutorchTower(path, threads)
    raise UserError(f"no runtime for {path.name}. Known: .onnx, .ort, .mlpackage, .pte.")
