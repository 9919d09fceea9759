"""The table of runtimes: which one opens an exported file, by the file's suffix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from conaclip_edge.errors import UserError, unknown
from conaclip_edge.runtime.tower import Tower
from conaclip_edge.system.extras import extras_needed


@dataclass(frozen=True)
class Runtime:
    """What opens the exported files of one suffix.

    Attributes:
        target: export target that writes such files; their folder in a bundle begins with its name.
        module: imported when the first such file is opened.
        function: of the module; maps (path, CPU threads) to a `Tower`.
        may_crash: a damaged file can end the process that opens it, so `verify` opens it in another one.
    """

    target: str
    module: str
    function: str
    may_crash: bool = False


# suffix -> runtime; of a target's suffixes the first is the one that `index`, `search` and `evaluate` open
RUNTIMES: dict[str, Runtime] = {
    ".onnx": Runtime("onnx", "conaclip_edge.runtime.onnx_tower", "OnnxTower"),
    ".ort": Runtime("onnx", "conaclip_edge.runtime.onnx_tower", "OnnxTower"),
    ".pte": Runtime("executorch", "conaclip_edge.runtime.executorch_tower", "ExecutorchTower", may_crash=True),
    ".mlpackage": Runtime("coreml", "conaclip_edge.runtime.coreml_tower", "open_coreml"),
    ".aimodel": Runtime("coreai", "conaclip_edge.runtime.coreai_tower", "CoreaiTower", may_crash=True),
}


@extras_needed()
def open_tower(path: Path, threads: int = 1) -> Tower:
    """Load an exported tower with the runtime that fits its suffix.

    Args:
        path: a file, or a folder for Core ML and Core AI, with a suffix of `RUNTIMES`.
        threads: CPU threads of the runtime.

    Raises:
        UserError: there is no such file, no runtime for it, or the runtime refuses it.
        NotInstalled: its runtime's extra is not installed.
    """
    if not path.exists():
        raise UserError(f"no exported tower at {path}.")
    runtime = runtime_of(path)
    opened: Callable[[Path, int], Tower] = getattr(import_module(runtime.module), runtime.function)
    return opened(path, threads)


def runtime_of(path: Path) -> Runtime:
    """Return the runtime that fits a file's suffix.

    Raises:
        UserError: there is none.
    """
    if path.suffix not in RUNTIMES:
        raise UserError(f"no runtime for {path.name}. Known: {', '.join(RUNTIMES)}.")
    return RUNTIMES[path.suffix]


def suffixes_of(target: str) -> tuple[str, ...]:
    """Return the suffixes of a target's files, e.g. (".onnx", ".ort"); the first is the one that an app opens.

    Raises:
        UserError: no runtime opens files of such a target.
    """
    found = tuple(suffix for suffix, runtime in RUNTIMES.items() if runtime.target == target)
    if not found:
        raise unknown("target", target, {runtime.target for runtime in RUNTIMES.values()})
    return found
