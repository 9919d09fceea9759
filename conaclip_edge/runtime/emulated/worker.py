"""Runs one exported tower on a device: a script that imports numpy and one runtime, and nothing of ours.

    python worker.py FOLDER

FOLDER holds request.json and inputs.npy, and gets reply.npz. `run_tower` writes and reads them.
"""

import gc
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[[Any], Any]  # an input of one row -> its embedding [1, d]


def main(folder: Path) -> None:
    """Do what a folder's request.json asks for."""
    request = json.loads((folder / "request.json").read_text("utf-8"))
    sys.path[:1] = request["sites"]  # and not from the folder of this script
    import numpy as np

    mark = os.sched_rr_get_interval if request["count"] else int  # the system call that qemu's plugin counts at
    given = np.load(folder / "inputs.npy", mmap_mode="r", allow_pickle=False)  # what is not run takes no memory
    ends = request["ends"]  # of each text in the row of all ids; pictures have none

    def row(number: int) -> Any:
        if not ends:
            return given[number][None].astype(np.float32) / 255
        return np.array(given[ends[number - 1] if number else 0 : ends[number]])[None]

    load = executorch() if request["file"].endswith(".pte") else onnx(request["precise"])
    before = peak()
    mark(0)
    run = load(request["file"])
    mark(0)
    found = [run(row(0))]
    mark(0)
    end = time.monotonic() + request["seconds"]
    for number in range(1, len(ends or given)):
        if number >= request["least"] and time.monotonic() > end:
            break
        found.append(run(row(number)))
    highest = peak()
    if request["count"]:
        sample = row(request["counted"])
        for _ in range(request["warmup"]):  # Python's interpreter adapts to what it runs often
            run(sample)
        gc.disable()  # a collection now and then would be in one count and not in the next
        end = time.monotonic() + request["enough"]
        for block in range(request["blocks"]):
            if block >= request["least_blocks"] and time.monotonic() > end:
                break
            for calls in request["calls"]:
                mark(0)
                for _ in range(calls):
                    run(sample)
            mark(0)
    np.savez(folder / "reply.npz", embeddings=np.concatenate(found), memory=np.array([before, highest]))


def onnx(precise: bool) -> Callable[[str], Call]:
    """Import onnxruntime and return what loads a file with it; see `OnnxTower` for the precise mode."""
    import onnxruntime

    def load(file: str) -> Call:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if precise:
            options.add_session_config_entry("session.x64quantprecision", "1")  # as OnnxTower does
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda row: session.run(None, {name: row})[0]

    return load


def executorch() -> Callable[[str], Call]:
    """Import ExecuTorch and return what loads a file with it."""
    import torch  # its module links to torch
    from executorch.extension.pybindings import _portable_lib as runtime

    torch.set_num_threads(1)
    runtime._unsafe_reset_threadpool(1)

    def load(file: str) -> Call:
        program = runtime._load_for_executorch(file)
        # it reuses its output's memory in the next call
        return lambda row: program.forward((torch.from_numpy(row),))[0].numpy().copy()

    return load


def peak() -> int:
    """Return the resident memory of this process at its peak, in bytes; under qemu the emulator's own is in it."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text("utf-8"), re.M)
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(0)  # some runtimes abort while the interpreter ends
