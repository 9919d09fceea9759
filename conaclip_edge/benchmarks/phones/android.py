"""A phone over adb: push the runtimes' own benchmark programs, run the bundle's files, read what they print."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conaclip_edge.benchmarks.measure.candidates import Candidate, shipped
from conaclip_edge.benchmarks.measure.machine import ISA
from conaclip_edge.benchmarks.phones.report import (
    Statistics,
    latency_of_calls,
    latency_of_statistics,
    phone_report,
)
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Latency, Tower
from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.config.benchmark import AndroidConfig, BenchmarkConfig
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


class Phone:
    """An attached phone.

    Args:
        adb: the adb program.
        serial: which phone; None where only one is attached.
        config: folder on the phone and time for one command.
    """

    def __init__(self, adb: str, serial: str | None, config: AndroidConfig):
        if shutil.which(adb) is None:
            raise UserError(f"'{adb}' is not installed; it comes with Android's platform-tools.")
        self.adb, self.config = adb, config
        self.name = _choose(_run_adb([adb, "devices"], config.timeout), serial)

    def call(self, *arguments: str) -> str:
        """Run an adb command on this phone; returns its output."""
        return _run_adb([self.adb, "-s", self.name, *arguments], self.config.timeout)

    def shell(self, command: str) -> str:
        """Run a command in the phone's shell."""
        return self.call("shell", command)

    def push(self, path: Path, name: str) -> None:
        """Copy a file into the folder on the phone."""
        if not path.is_file():
            raise UserError(f"no file at {path} to push to the phone.")
        self.call("push", str(path), f"{self.config.folder}/{name}")

    def benchmark(self, command: str) -> str:
        """Run a program in the folder on the phone; returns its output and what it logged."""
        self.call("logcat", "-c")
        printed = self.shell(f"cd {shlex.quote(self.config.folder)} && {command} 2>&1")
        return printed + self.call("logcat", "-d", "-s", "ExecuTorch")

    def environment(self) -> Environment:
        """Describe the phone from its system properties."""
        names = {
            "maker": "ro.product.manufacturer",
            "model": "ro.product.model",
            "android": "ro.build.version.release",
            "sdk": "ro.build.version.sdk",
            "soc": "ro.soc.model",
            "abi": "ro.product.cpu.abi",
        }
        properties = {name: self.shell(f"getprop {key}").strip() for name, key in names.items()}
        features = set(re.findall(r"^Features\s*:\s*(.+)$", self.shell("cat /proc/cpuinfo"), re.M))
        flags = set(" ".join(features).split())
        cores = self.shell("nproc").strip()
        return Environment(
            label=f"{properties['maker']} {properties['model']}, Android {properties['android']}".strip(),
            kind="phone",
            cpu=properties["soc"] or properties["abi"],
            isa=tuple(name for name in ISA if name in flags),
            cores=int(cores) if cores.isdigit() else None,
            os=f"Android {properties['android']} (SDK {properties['sdk']}) {properties['abi']}",
        )


def _choose(listed: str, serial: str | None) -> str:
    """Pick the phone from the output of `adb devices`."""
    states: dict[str, str] = dict(re.findall(r"^(\S+)\t(\S+)\s*$", listed, re.M))
    ready = [name for name, state in states.items() if state == "device"]
    if serial:
        if serial in ready:
            return serial
        state = f"is {states[serial]}" if serial in states else "is not attached"
        raise UserError(f"phone {serial} {state}. Attached and ready: {', '.join(ready) or 'none'}.")
    if not ready:
        waiting = ", ".join(f"{name} is {state}" for name, state in states.items())
        raise UserError(
            f"no phone is ready ({waiting or 'none is attached'}). Attach one with USB debugging on, and allow this "
            "computer on its screen."
        )
    if len(ready) > 1:
        raise UserError(f"several phones are attached: {', '.join(ready)}. Name one: --serial {ready[0]}")
    return ready[0]


def _run_adb(command: Sequence[str], timeout: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, errors="replace")
    except subprocess.TimeoutExpired:
        raise UserError(
            f"no answer from the phone within {timeout:g} s: {shlex.join(command)}. Is its screen unlocked? The "
            "suite's android.timeout gives it longer."
        ) from None
    if done.returncode:
        reason = " ".join((done.stderr + done.stdout).split())[-300:]
        raise UserError(f"'{shlex.join(command)}' failed (exit code {done.returncode}): {reason}")
    return done.stdout
