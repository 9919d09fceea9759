"""An index run that is killed again and again, and what is left of it.

By itself it kills a run on pictures of your own at random times:
    python -m tests.helpers.search.killed BUNDLE PICTURES --kills 20
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# runs an index and kills its own process at the n-th call that its main thread makes in or from this package
_AT_CALL = """
import os, signal, sys
from pathlib import Path
from conaclip_edge.search.update import open_writer
bundle, pictures, out, last, batch, waiting = sys.argv[1:]
calls = 0
def count(frame, event, what):
    global calls
    if event in ("call", "c_call") and "conaclip_edge/search" in frame.f_code.co_filename:
        calls += 1
        if calls == int(last):
            os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(count)
with open_writer(Path(bundle), Path(pictures), Path(out), batch=int(batch), waiting=int(waiting)) as writer:
    writer.update()
sys.setprofile(None)
print(calls)
"""


def run_to_call(bundle: Path, pictures: Path, out: Path, call: int, batch: int = 16, waiting: int = 20) -> int:
    """Run an index that kills itself at a call; returns the number of calls if it came to its end, else -1."""
    values = map(str, (bundle, pictures, out, call, batch, waiting))
    done = subprocess.run([sys.executable, "-c", _AT_CALL, *values], capture_output=True, text=True, timeout=100)
    if done.returncode == 0:
        return int(done.stdout)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return -1


def run_for(bundle: Path, pictures: Path, out: Path, seconds: float | None, working: bool = False) -> bool:
    """Run the command and kill it after so many seconds; says whether it came to its end.

    Args:
        bundle: as the command's.
        pictures: the same.
        out: the same.
        seconds: None lets it be.
        working: count them from the first batch that it finishes, not from its start.
    """
    command = [
        sys.executable,
        "-m",
        "conaclip_edge.cli.main",
        "index",
        *map(str, (bundle, pictures)),
        "--out",
        str(out),
    ]
    before = indexed(out)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if seconds is not None:
        while working and process.poll() is None and indexed(out) == before:
            time.sleep(0.02)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    ended = process.wait()
    assert ended in (0, -signal.SIGKILL), f"{' '.join(command)} ended with {ended}"
    return ended == 0


def main() -> None:
    """Kill a run at random times, finish it, and compare it with one that was left alone."""
    from tests.helpers.search.small_index import contents

    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        alone, torn = Path(home) / "alone", Path(home) / "torn"
        began = time.monotonic()
        assert run_for(asked.bundle, asked.pictures, alone, None)
        whole = time.monotonic() - began
        chance, kills, after = random.Random(asked.seed), 0, []
        while kills < asked.kills:
            # one in five is killed while it loads and opens the index, the others at their work
            working = kills % 5 > 0
            seconds = chance.uniform(0, 1.5 * whole / asked.kills if working else 2)
            if run_for(asked.bundle, asked.pictures, torn, seconds, working):
                break
            kills += 1
            after.append(indexed(torn))
        assert run_for(asked.bundle, asked.pictures, torn, None)
        random_vectors = np.random.default_rng(0).standard_normal((50, _dim(alone))).astype(np.float32)
        queries = list(random_vectors / np.linalg.norm(random_vectors, axis=1, keepdims=True))
        same = contents(alone, queries) == contents(torn, queries)
        print(
            f"{indexed(alone)} pictures, uninterrupted {whole:.1f} s; killed {kills} times, indexed after each: {after}"
        )
        print("identical: rows, vectors, graph file, 50 searches" if same else "NOT identical")
        sys.exit(not same)


def indexed(index: Path) -> int:
    """Return how many pictures an index holds, 0 if there is none."""
    from conaclip_edge.search.sqlite_store import open_sidecar, unmade

    return 0 if unmade(index) else len(open_sidecar(index))


def _dim(index: Path) -> int:
    from conaclip_edge.search.sqlite_store import open_sidecar

    return int(open_sidecar(index).meta()["dim"])


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
