"""Whether packages can be imported: each set in a process of its own, so that a broken one ends nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import NamedTuple

from conaclip_edge.system.extras import EXTRAS

SECONDS = 120  # PyTorch from a cold disk takes tens of them

# module -> what is imported to see that it works, where that is not the module itself; the public face of ExecuTorch's
# runtime imports the whole exporter, which takes 5 s more
_DEEPER = {"executorch": "torch, executorch.extension.pybindings._portable_lib"}
_DEVICES = (
    "import json, torch; print(json.dumps({'cuda': [torch.cuda.get_device_name(i) for i in "
    "range(torch.cuda.device_count())], 'mps': torch.backends.mps.is_available()}))"
)


class Accelerators(NamedTuple):
    """What PyTorch can train on beside the processor."""

    cuda: tuple[str, ...] = ()
    mps: bool = False


def modules_of(extra: str) -> tuple[str, ...]:
    """Return the modules that an extra brings, without those of the extras that it includes."""
    return tuple(module for module, brought_by in EXTRAS.items() if brought_by == extra)


def import_problems(extras: Iterable[str]) -> dict[str, str]:
    """Import the packages of each extra.

    Returns:
        Extra -> what is wrong with it, in a few words; "" where all can be imported.
    """
    names = list(extras)
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(names, pool.map(lambda extra: _problem(modules_of(extra)), names), strict=True))


def accelerators() -> Accelerators:
    """Ask PyTorch, which has to be installed, for its devices."""
    done = _python(_DEVICES)
    if done is None or done.returncode:
        return Accelerators()
    found = json.loads(done.stdout.splitlines()[-1])
    return Accelerators(tuple(found["cuda"]), bool(found["mps"]))


def _problem(modules: tuple[str, ...]) -> str:
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        return f"{missing[0]} is not installed"
    code = "".join(f"import {_DEEPER.get(module, module)}\n" for module in modules)
    done = _python(code)
    if done is None:
        return f"cannot be imported within {SECONDS} s"
    if not done.returncode:
        return ""
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    if "operator torchvision::" in last[0]:
        return "torchvision is of another build (CPU or CUDA) than PyTorch: install both from one index"
    return f"cannot be imported ({last[0][:200]})"


def _python(code: str) -> subprocess.CompletedProcess[str] | None:
    """Run code in a fresh Python; None if it takes too long."""
    try:
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None
