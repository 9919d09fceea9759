"""The long fuzz: `python -m tests.security.fuzz [PARSER ...] --seconds 600 [--engine hypothesis|atheris]`.

Each parser runs in child processes with an address space of 2 GB more than they start with; one that spends over 10 s
on a case is ended. So hangs and crashes of native code are found like any other failure. The first case of every kind
of failure is made shorter where that is simple, and kept in corpus/PARSER/; tests/security/test_fuzz.py then asks for
the error that it should give.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
CORPUS, CASE, COUNT, KNOWN, BEGUN = HERE / "corpus", "case", "count", "known.json", "begun"
TRIES = 8  # child processes of a parser that die
BATCH = 1000  # examples of hypothesis at a time; it remembers what it drew
INSTRUMENTED = ["conaclip_edge", "h11"]


def main() -> int:
    """Fuzz parsers for a time; return 1 if one failed that is the package's own."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("parsers", nargs="*", metavar="PARSER", help="names in parsers.PARSERS; left out: all")
    options.add_argument("--seconds", type=float, default=600, help="in all; every parser gets an equal share")
    options.add_argument("--engine", choices=["hypothesis", "atheris"], help="left out: atheris for Python's parsers")
    options.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child is not None:
        child(given.parsers[0], given.seconds, given.engine, given.child)
        return 0
    from tests.security.parsers import PARSERS

    names = given.parsers or list(PARSERS)
    if unknown := set(names) - set(PARSERS):
        options.error(f"unknown parser {sorted(unknown)}; known: {', '.join(PARSERS)}")
    failures = 0
    print(f"{'parser':20} {'engine':10} {'cases':>8} {'seconds':>8} failures")
    for name in names:
        engine = given.engine or ("atheris" if PARSERS[name].pure else "hypothesis")
        count, seconds, found = watch(name, given.seconds / len(names), engine)
        print(f"{name:20} {engine:10} {count:8} {seconds:8.0f} {', '.join(found) or '-'}", flush=True)
        failures += 0 if PARSERS[name].native else len(found)
    return 1 if failures else 0


def watch(name: str, seconds: float, engine: str) -> tuple[int, float, list[str]]:
    """Run children over a parser, a new one where one ended early; return cases, seconds of fuzzing and failures."""
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as place:
        folder, used, tries = Path(place), 0.0, 0
        found: list[str] = []
        while used < seconds and tries < TRIES:
            tries += 1
            command = [sys.executable, "-m", "tests.security.fuzz", name, "--child", str(tries), "--engine", engine]
            ended = subprocess.run(
                [*command, "--seconds", str(seconds - used)], cwd=folder, capture_output=True, env=_environment()
            )
            began = folder / BEGUN
            if not began.exists():
                raise SystemExit(f"{name} could not be prepared:\n{ended.stderr.decode(errors='replace')[-3000:]}")
            used += time.time() - began.stat().st_mtime
            if ended.returncode and (folder / CASE).exists():  # the process died over its case
                told = ended.stderr.decode(errors="replace")
                kind = "hang" if "Timeout (" in told else f"crash{ended.returncode}"
                key = f"{kind}-{hashlib.sha256(told.partition('File')[2][:120].encode()).hexdigest()[:6]}"
                if key not in found:
                    found.append(key)
                    keep(name, key, (folder / CASE).read_bytes())
                    print(told[-2000:], file=sys.stderr)
            for path in (began, folder / CASE):
                path.unlink(missing_ok=True)
        known = folder / KNOWN
        found += json.loads(known.read_text()) if known.exists() else []
        return (folder / COUNT).stat().st_size if (folder / COUNT).exists() else 0, used, found


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONFAULTHANDLER": "1"}


def keep(name: str, key: str, data: bytes) -> None:
    """Write a case into the corpus."""
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    (CORPUS / name / key).write_bytes(data)


def child(name: str, seconds: float, engine: str, number: int) -> None:
    """Fuzz a parser in the current folder until the time is over, or until a case ends the process."""
    if engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=INSTRUMENTED):
            from tests.security import parsers
    else:
        from tests.security import parsers
    from tests.security.changes import change
    from tests.security.limits import SECONDS, limited_memory
    from tests.security.subject import outcome

    parser, home = parsers.PARSERS[name], Path.cwd()
    work = home / f"work-{number}"
    work.mkdir()
    os.chdir(work)
    subject = parser.make()
    outcome(subject, subject.seeds[0])
    known: list[str] = json.loads((home / KNOWN).read_text()) if (home / KNOWN).exists() else []
    counter = os.open(home / COUNT, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def failure_of(data: bytes) -> str:
        """Try a case; return the kind of its failure, "" if there is none."""
        (home / CASE).write_bytes(data)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            outcome(subject, data)
        except BaseException as error:  # a panic of Rust is no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            return kind_of(error)
        finally:
            faulthandler.cancel_dump_traceback_later()
        return ""

    def test(data: bytes) -> None:
        os.write(counter, b".")
        key = failure_of(data)
        if key and key not in known:
            known.append(key)
            (home / KNOWN).write_text(json.dumps(known))
            keep(name, key, shorter(data, lambda some: failure_of(some) == key))

    (home / BEGUN).touch()
    with limited_memory():
        if engine == "atheris":
            with_atheris(
                test, lambda random, data: change(random, [data, *subject.seeds], parser.kind), subject.seeds, seconds
            )
        else:
            with_hypothesis(test, lambda random: change(random, subject.seeds, parser.kind), seconds, number)


def kind_of(error: BaseException) -> str:
    """Name a failure by its type and the deepest line of the package that it passed through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/conaclip_edge/" in frame.filename]
    if error.__cause__ is not None:
        frames += [
            each for each in traceback.extract_tb(error.__cause__.__traceback__) if "/conaclip_edge/" in each.filename
        ]
    where = f"{Path(frames[-1].filename).stem}-{frames[-1].name}" if frames else str(error)[:40]
    kind = type(error.__cause__ or error).__name__
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in f"{kind}-{where}")


def shorter(data: bytes, fails: Callable[[bytes], bool], seconds: float = 5) -> bytes:
    """Cut pieces out of a case, large ones first, as long as it fails in the same way."""
    end = time.monotonic() + seconds
    size = len(data) // 2
    while size and time.monotonic() < end:
        place = 0
        while place < len(data) and time.monotonic() < end:
            without = data[:place] + data[place + size :]
            if fails(without):
                data = without
            else:
                place += size
        size //= 2
    return data


def with_hypothesis(
    test: Callable[[bytes], None], make: Callable[[Random], bytes], seconds: float, number: int
) -> None:
    """Draw changes until the time is over."""
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st

    end, batch = time.monotonic() + seconds, 0
    quiet = settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    def one(random: Random) -> None:
        data = make(random)
        if time.monotonic() < end:
            test(data)

    while time.monotonic() < end:
        batch += 1
        seed(number * 10_000 + batch)(quiet(given(st.randoms(use_true_random=False))(one)))()


def with_atheris(
    test: Callable[[bytes], None], make: Callable[[Random, bytes], bytes], seeds: list[bytes], seconds: float
) -> None:
    """Let libFuzzer choose what to change further: what reached new lines."""
    import atheris

    corpus = Path("seeds")
    corpus.mkdir()
    for number, data in enumerate(seeds):
        (corpus / str(number)).write_bytes(data)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        return make(Random(number), data)[:most]

    flags = [
        f"-max_total_time={int(seconds) + 1}",
        "-max_len=300000",
        "-rss_limit_mb=0",
        "-timeout=600",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *flags, "-len_control=0", str(corpus)], test, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
