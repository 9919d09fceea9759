"""The benchmark on an Android phone: push the runtimes' own programs, run the bundle's files, read what is printed."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from conaclip_edge.benchmarks.measure.candidates import Candidate, shipped
from conaclip_edge.benchmarks.phones.adb import Phone
from conaclip_edge.benchmarks.phones.report import (
    Statistics,
    latency_of_calls,
    latency_of_statistics,
    phone_report,
)
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Latency, Tower
from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from conaclip_edge.system.progress import say

WARMUP = 10
_RUNNERS = {"onnx": "onnxruntime_perf_test", "executorch": "executor_runner"}


@dataclass(frozen=True)
class PhoneTimes:
    """What a benchmark program printed.

    Attributes:
        times: milliseconds of each call; empty where it prints statistics alone.
        statistics: what it prints instead.
        load: milliseconds of loading.
        first: milliseconds of the first call.
        peak: resident bytes at most.
        warmup: calls before that did not count.
    """

    times: tuple[float, ...]
    statistics: Statistics | None
    load: float | None
    first: float | None
    peak: int | None
    warmup: int


def benchmark_android(
    bundle: Path, suite: BenchmarkConfig, out: Path, serial: str | None = None, adb: str = "adb"
) -> BenchmarkReport:
    """Time a bundle's files on an attached phone and write a report of it.

    Args:
        bundle: folder with manifest.json.
        suite: targets and precisions, and in `android` the benchmark programs, threads and runs.
        out: folder of the report.
        serial: which phone, where several are attached.
        adb: the adb program.

    Returns:
        The report: rows with latency and size, no recall. Merge it with a host's report.

    Raises:
        UserError: no adb, no phone or several, no benchmark program, or a program that fails on the phone.
    """
    config = suite.android
    runners = {"onnx": config.onnx_runner, "executorch": config.executorch_runner}
    manifest = read_manifest(bundle)
    candidates = [candidate for candidate in shipped(bundle, manifest, suite) if runners.get(candidate.target)]
    if not candidates:
        raise UserError(
            "no benchmark program for a phone fits the bundle. Build one and name it in the suite: "
            "android.executorch_runner (ExecuTorch's executor_runner with XNNPACK) or android.onnx_runner "
            "(onnxruntime's onnxruntime_perf_test)."
        )
    phone = Phone(adb, serial, config)
    environment = phone.environment()
    phone.shell(f"mkdir -p {shlex.quote(config.folder)}")
    for target in sorted({candidate.target for candidate in candidates}):
        runner = runners[target]
        assert runner is not None
        phone.push(runner, _RUNNERS[target])
        phone.shell(f"chmod +x {shlex.quote(f'{config.folder}/{_RUNNERS[target]}')}")
    latencies: dict[str, dict[Tower, Latency]] = {}
    notes: dict[str, list[str]] = {}
    for candidate in candidates:
        row = candidate.spec.row
        for tower, path in candidate.spec.files.items():
            say(f"{environment.label}: {candidate.label}, {tower} tower")
            timed = _run(phone, candidate, tower, path, manifest)
            latencies.setdefault(row, {})[tower] = _latency(timed, tower, suite)
            if timed.peak is not None:
                notes.setdefault(row, []).append(f"{tower} tower: {timed.peak / 1e6:.0f} MB of memory at its peak")
    return phone_report(bundle, manifest, suite, environment, candidates, latencies, notes, out)


def _latency(timed: PhoneTimes, tower: Tower, suite: BenchmarkConfig) -> Latency:
    threads = suite.android.threads
    if timed.statistics:
        latency = latency_of_statistics(tower, threads, timed.statistics)
    else:
        latency = latency_of_calls(tower, threads, timed.times, suite.rounds.noise)
    return latency.model_copy(update={"cold_load": timed.load, "first_call": timed.first, "warmup": timed.warmup})


def _run(phone: Phone, candidate: Candidate, tower: Tower, path: Path, manifest: Manifest) -> PhoneTimes:
    """Run one file on the phone; texts at the full context, which both programs take."""
    config = phone.config
    phone.push(path, path.name)
    model = shlex.quote(path.name)
    if candidate.target == "onnx":
        length = f"-f length:{manifest.context} " if tower == "text" else ""
        command = (
            f"LD_LIBRARY_PATH=. ./{_RUNNERS['onnx']} -I -s -Z -m times -r {config.runs} -x {config.threads} "
            f"-f batch:1 {length}{model}"
        )
        found = parse_onnxruntime(phone.benchmark(command))
    else:
        command = (
            f"./{_RUNNERS['executorch']} --model_path={model} --num_executions={config.runs + WARMUP} "
            f"--cpu_threads={config.threads}"
        )
        found = parse_executorch(phone.benchmark(command), WARMUP)
    phone.shell(f"rm -f {shlex.quote(f'{config.folder}/{path.name}')}")
    if found is None:
        raise UserError(
            f"{_RUNNERS[candidate.target]} printed no times for {path.name} on {phone.name}. Run it there by hand: "
            f"{phone.adb} -s {phone.name} shell 'cd {config.folder} && {command}'"
        )
    return found


def parse_executorch(text: str, warmup: int) -> PhoneTimes | None:
    """Read what executor_runner logs: one line per call in new releases, the total alone in older ones.

    Args:
        text: its output and log.
        warmup: calls at the beginning that do not count, where each is logged.
    """
    times = tuple(float(value) for value in re.findall(r"Iteration \d+ of \d+: ([\d.]+) ms", text))
    load = _first(r"Model loaded in ([\d.]+) ms", text)
    if len(times) > warmup:
        return PhoneTimes(times[warmup:], None, load, times[0], None, warmup)
    total = re.search(r"Model executed successfully (\d+) time\(s\) in ([\d.]+) ms", text)
    if not total:
        return None
    runs = int(total[1])
    return PhoneTimes((), Statistics(float(total[2]) / runs, runs), load, None, None, 0)


def parse_onnxruntime(text: str) -> PhoneTimes | None:
    """Read what onnxruntime_perf_test prints with -s: the mean in milliseconds, percentiles in seconds."""
    mean = _first(r"Average inference time cost(?: total)?:\s*([\d.eE+-]+) ms", text)
    runs = _first(r"Total inference requests:\s*(\d+)", text)
    if mean is None or not runs:
        return None
    seconds = {name: _first(rf"{name} Latency:\s*([\d.eE+-]+) s", text) for name in ("P50", "P90", "P95", "P99")}
    p50, p90, p95, p99 = (None if value is None else 1000 * value for value in seconds.values())
    created = _first(r"Session creation time cost:\s*([\d.eE+-]+) s", text)
    peak = _first(r"Peak working set size:\s*(\d+) bytes", text)
    return PhoneTimes(
        (),
        Statistics(mean, int(runs), p50, p90, p95, p99),
        None if created is None else 1000 * created,
        _first(r"First inference time cost:\s*([\d.]+) ms", text),
        None if peak is None else int(peak),
        1,  # it runs the model once before it counts
    )


def _first(pattern: str, text: str) -> float | None:
    found = re.search(pattern, text)
    return float(found[1]) if found else None
