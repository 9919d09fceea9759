"""Commands that meet an accident, are run again, and must end as if nothing had happened.

    python -m tests.crash.accidents --runs 200 [--jobs distill,export] [--seed 0]

Accidents: SIGKILL or SIGTERM at a random time of the run, or a disk that is full from some byte on. After them the same
command is given again and must come to its end; then every file below its folder must have the bytes of an undisturbed
run, and there must be no other file.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

PATIENCE = 300  # seconds that a command may take on a busy machine


@dataclass(frozen=True)
class Job:
    """A command that can be interrupted.

    Attributes:
        prepare: makes what the command reads, once, in a folder that all runs share.
        arguments: of the command line, given that folder and the run's own one; the second time they may differ.
        modules: imported before the runs are forked: a run is to die at its work, not at its imports.
    """

    prepare: Callable[[Path], None]
    arguments: Callable[[Path, Path], list[str]]
    modules: tuple[str, ...]


def _distil_world(home: Path) -> None:
    from tests.helpers import tiny

    tiny.image_folder(home / "data")
    tiny.teacher_folder(home / "teacher")


def _distil(home: Path, place: Path) -> list[str]:
    from tests.helpers import tiny

    recipe = home / "recipe.yaml"
    if not recipe.exists():
        values = tiny.recipe(home / "data", home / "teacher", Path("cache"), steps=24, teacher_views=3, ema=0.9)
        tiny.write_recipe(recipe, values | {"graph": {"queue": 20}})
    more = ["--resume"] if (place / "out.run/state.safetensors").exists() else []
    return ["distill", str(recipe), "--out", "out", *more]


def _export_world(home: Path) -> None:
    from tests.helpers.bar_pictures import write_checkpoint, write_pictures

    write_checkpoint(home / "student", write_pictures(home / "data"))


def _export(home: Path, target: str) -> list[str]:
    bars = [part for bar in ("min_cosine=0.9", "min_relative_recall=0.5") for part in ("--set", bar)]
    return ["export", str(home / "student"), "--target", target, *bars, "--out", "bundle"]


def _index_world(home: Path) -> None:
    from tests.helpers.search.small_index import write_bundle, write_pictures

    write_bundle(home / "bundle")
    write_pictures(home / "pictures", 600)


def _index(home: Path, place: Path) -> list[str]:
    return ["index", str(home / "bundle"), str(home / "pictures"), "--out", "index"]


def _report_world(home: Path) -> None:
    from conaclip_edge.benchmarks.report.write import write_report
    from tests.helpers.benchmarks.sample import sample_report

    write_report(sample_report(), home / "one")


def _report(home: Path, place: Path) -> list[str]:
    return ["report", str(home / "one/report.json"), "--out", "merged"]


JOBS = {
    "distill": Job(_distil_world, _distil, ("conaclip_edge.distill.trainer", "transformers.models.clip")),
    **{
        f"export-{target}": Job(
            _export_world,
            lambda home, _, target=target: _export(home, target),
            ("conaclip_edge.export.export_bundle", f"conaclip_edge.export.{target}", module),
        )
        for target, module in (("onnx", "onnxscript"), ("executorch", "torchao"), ("coreml", "coremltools"))
    },
    "index": Job(_index_world, _index, ("conaclip_edge.search.commands", "onnxruntime", "usearch.index")),
    "report": Job(_report_world, _report, ("conaclip_edge.benchmarks.commands",)),
}


def run(arguments: list[str], place: Path, accident: tuple[str, float] | None = None) -> tuple[int, str, float]:
    """Run a command line in a forked process; returns (exit code, minus the signal if one ended it; stderr; seconds).

    Args:
        arguments: of the command line.
        place: its folder.
        accident: "kill" or "term" and the seconds after which, or "disk" and the bytes that a file may have.
    """
    place.mkdir(exist_ok=True)
    errors = place.with_name(f"{place.name}.stderr")
    errors.touch()
    kind, amount = accident or ("", 0.0)
    began = time.monotonic()
    process = os.fork()
    if process == 0:
        _become(arguments, place, errors, int(amount) if kind == "disk" else None)
    waiting = {"kill": signal.SIGKILL, "term": signal.SIGTERM}.get(kind)
    while (ended := os.waitpid(process, os.WNOHANG))[0] == 0:
        gone = time.monotonic() - began
        if waiting and gone >= amount:
            os.kill(process, waiting)
            waiting = None
        if gone > PATIENCE:
            os.kill(process, signal.SIGKILL)
            waiting = None
        time.sleep(0.001)
    seconds = time.monotonic() - began
    assert seconds < PATIENCE, f"{' '.join(arguments)} did not end in {PATIENCE} s after {accident}"
    return os.waitstatus_to_exitcode(ended[1]), errors.read_text("utf-8"), seconds


def _become(arguments: list[str], place: Path, errors: Path, largest: int | None) -> None:
    """Turn this forked process into the command line."""
    from conaclip_edge.cli import main as cli

    code = 70
    try:
        os.chdir(place)
        for number, target in ((1, os.devnull), (2, str(errors))):
            os.dup2(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        sys.argv = ["conaclip-edge", *arguments]
        cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def snapshot(place: Path) -> dict[str, str]:
    """Return what a folder holds: a hash for every file, of its rows for an index, without durations."""
    from tests.helpers.search.small_index import rows_of

    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name + "/"] = ""
        elif path.name == "pictures.sqlite":
            found[name] = _digest(json.dumps(rows_of(path)).encode())
        elif path.name == "training.json":
            values = json.loads(path.read_bytes())
            found[name] = _digest(json.dumps(values | {"seconds": 0}).encode())
        elif path.suffix not in (".sqlite-wal", ".sqlite-shm"):
            found[name] = _digest(path.read_bytes())
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return [
        f"{name} is {'missing' if name not in found else 'left over' if name not in wanted else 'another'}"
        for name in sorted({**found, **wanted})
        if found.get(name) != wanted.get(name)
    ]


def suffer(
    job: Job, home: Path, runs: int, kinds: tuple[str, ...], chance: random.Random, tell: Callable[[str], None]
) -> Counter[str]:
    """Let a job meet accidents until they are so many; returns how many of each kind, and how many did it no harm.

    Args:
        job: the command.
        home: folder of its world.
        runs: that meet an accident.
        kinds: of accidents; one that stands twice comes twice as often.
        chance: draws kinds and times.
        tell: gets a line for each accident.

    Raises:
        AssertionError: a traceback, another exit code, or an end that is not that of an undisturbed run.
    """
    quiet = home / "quiet"
    code, errors, whole = run(job.arguments(home, quiet), quiet)
    assert code == 0, errors
    wanted, seen = snapshot(quiet), Counter[str]()
    largest = max(path.stat().st_size for path in quiet.rglob("*") if path.is_file())
    number = 0
    while sum(seen.values()) < runs:
        place, number = home / f"run-{number}", number + 1
        story = []
        for _ in range(chance.randint(1, 3)):
            kind = chance.choice(kinds)
            amount = chance.uniform(0, largest) if kind == "disk" else chance.uniform(0, 1.05 * whole)
            code, errors, _ = run(job.arguments(home, place), place, (kind, amount))
            story.append(f"{kind} at {amount:.2f}: {code}")
            allowed = {"kill": (0, -signal.SIGKILL), "term": (0, 143, -signal.SIGTERM), "disk": (0, 2)}[kind]
            assert code in allowed, (story, errors)
            # a destructor of a library may be interrupted by a signal, and says so
            assert code == 143 or "Traceback" not in errors, (story, errors)
            assert code != 2 or "Free some space" in errors, (story, errors)
            seen[kind if code else "too late"] += bool(code)
            if not code:
                break
        code, errors, _ = run(job.arguments(home, place), place)
        assert code == 0, (story, errors)
        wrong = differences(snapshot(place), wanted)
        assert not wrong, (story, wrong)
        tell("; ".join(story))
        shutil.rmtree(place)
    return seen


def main() -> None:
    """Run all jobs, each with its share of the accidents, and say how many there were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--kinds", default="kill,kill,kill,term,disk")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    names = asked.jobs.split(",")
    began = time.monotonic()
    for position, name in enumerate(names):
        job = JOBS[name]
        for module in job.modules:
            __import__(module)
        share = asked.runs // len(names) + (position < asked.runs % len(names))
        with tempfile.TemporaryDirectory(prefix="accidents-") as folder:
            home = Path(folder)
            with contextlib.chdir(home):  # readers keep what they derive below the current folder
                job.prepare(home)
            kinds, chance = tuple(asked.kinds.split(",")), random.Random(f"{asked.seed} {name}")
            seen = suffer(job, home, share, kinds, chance, lambda line: print(f"  {line}"))
        print(f"{name}: {dict(seen)}, all ended as an undisturbed run", flush=True)
    print(f"{asked.runs} accidents in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
