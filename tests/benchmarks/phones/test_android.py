from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from conaclip_edge.benchmarks.phones.android import benchmark_android, parse_executorch, parse_onnxruntime
from conaclip_edge.benchmarks.phones.report import Statistics
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, read_report
from conaclip_edge.config.benchmark import AndroidConfig, BenchmarkConfig
from conaclip_edge.errors import UserError
from tests.helpers.benchmarks.small_towers import small_bundle

# Written down from runs of the programs.
PERF_TEST = """\
Setting intra_op_num_threads to 1
Disabling intra-op thread spinning between runs
Session creation time cost: 0.0508382 s
First inference time cost: 21 ms
Total inference time cost: 1.9918 s
Total inference requests: 100
Average inference time cost total: 19.918000 ms
Total inference run time: 1.99202 s
Number of inferences per second: 50.2002
Avg CPU usage: 12 %
Peak working set size: 109531136 bytes
Avg CPU usage:12
Peak working set size:109531136
Runs:100
Min Latency: 0.0197812 s
Max Latency: 0.0202704 s
P50 Latency: 0.0199047 s
P90 Latency: 0.0200251 s
P95 Latency: 0.0201534 s
P99 Latency: 0.0202704 s
P999 Latency: 0.0202704 s
"""
ITERATIONS = "".join(
    f"I ExecuTorch: Iteration {number + 1} of 30: {50 / (number + 1) + 2:.6f} ms\n" for number in range(30)
)
LOGCAT = f"""\
--------- beginning of main
11-24 12:00:00.000  1000  1000 I ExecuTorch: Model file image.int8.pte is loaded.
11-24 12:00:00.010  1000  1000 I ExecuTorch: Model loaded in 7.250000 ms.
{ITERATIONS}11-24 12:00:01.000  1000  1000 I ExecuTorch: Model executed successfully 30 time(s) in 260.000000 ms.
"""
OLD_LOG = "I 00:00:00.5 executorch:executor_runner.cpp:298] Model executed successfully 40 time(s) in 100.000000 ms.\n"

FAKE_ADB = '''\
#!{python}
"""Plays adb with a phone on it: answers from a file, and writes down what it was asked."""
import json, sys
from pathlib import Path
here = Path(__file__).parent
asked = sys.argv[1:]
with open(here / "asked.jsonl", "a") as log:
    log.write(json.dumps(asked) + "\\n")
answers = json.loads((here / "answers.json").read_text())
for key, answer in answers.items():
    if key in " ".join(asked):
        if isinstance(answer, int):
            print("it broke", file=sys.stderr)
            sys.exit(answer)
        sys.stdout.write(answer)
        break
'''
ANSWERS = {
    "ro.product.manufacturer": "Google\n",
    "ro.product.model": "Pixel 9\n",
    "ro.build.version.release": "16\n",
    "ro.build.version.sdk": "36\n",
    "ro.soc.model": "Tensor G4\n",
    "ro.product.cpu.abi": "arm64-v8a\n",
    "cpuinfo": "processor : 0\nFeatures\t: fp asimd asimddp i8mm\n",
    "nproc": "8\n",
    "perf_test -I": PERF_TEST,
    "logcat -d": LOGCAT,
    "devices": "List of devices attached\n35AB\tdevice\n\n",
}


class Phone:
    """A folder with a fake adb, benchmark programs and a bundle."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.adb = folder / "adb"
        self.adb.write_text(FAKE_ADB.replace("{python}", sys.executable), "utf-8")
        self.adb.chmod(0o755)
        self.answer({})
        self.runner = folder / "runner"
        self.runner.write_bytes(b"program")
        files = {
            f"{target}/{tower}.int8.{end}": target
            for target, end in (("onnx", "onnx"), ("executorch", "pte"))
            for tower in ("image", "text")
        }
        self.bundle = small_bundle(folder / "bundle", files)
        self.suite = BenchmarkConfig(
            android=AndroidConfig(executorch_runner=self.runner, onnx_runner=self.runner, runs=20)
        )

    def answer(self, changes: dict[str, str | int]) -> None:
        (self.folder / "answers.json").write_text(
            json.dumps(changes | {k: v for k, v in ANSWERS.items() if k not in changes}), "utf-8"
        )

    def run(self, **keys) -> BenchmarkReport:
        return benchmark_android(self.bundle, self.suite, self.folder / "report", adb=str(self.adb), **keys)

    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "asked.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture
def phone(tmp_path) -> Phone:
    return Phone(tmp_path)


def test_a_phone_is_measured_by_the_runtimes_own_programs_and_named(phone):
    report = phone.run()
    assert read_report(phone.folder / "report" / "report.json") == report
    machine = report.environment
    assert machine.kind == "phone"
    assert machine.label == "Google Pixel 9, Android 16"
    assert machine.cpu == "Tensor G4"
    assert machine.isa == ("asimd", "asimddp", "i8mm")
    assert machine.cores == 8
    rows = {row.id: row for row in report.rows}
    assert set(rows) == {"onnx-int8", "executorch-int8"}
    onnx, executorch = (rows[name].latency_ms["image"] for name in rows)
    assert (onnx.mean, onnx.n, onnx.first_call) == (19.918, 100, 21)
    assert onnx.p50 == pytest.approx(19.9047)
    assert onnx.p99 == pytest.approx(20.2704)
    assert onnx.cold_load == pytest.approx(50.8382)
    assert executorch.cold_load == 7.25
    assert executorch.first_call == 52
    assert executorch.n == 20  # the first ten calls are the warm-up
    assert executorch.p50 == pytest.approx((50 / 20 + 50 / 21) / 2 + 2, abs=1e-5)
    assert all(row.recall is None and row.host == machine.label for row in rows.values())
    assert rows["onnx-int8"].latency_ms["text"].texts == "full context"
    assert any("110 MB of memory" in note for note in rows["onnx-int8"].notes)


def test_files_are_pushed_run_with_the_suites_settings_and_removed(phone):
    phone.run()
    asked = phone.asked()
    assert asked[0] == ["devices"]
    assert all(call[:2] == ["-s", "35AB"] for call in asked[1:])
    pushed = [Path(call[-1]).name for call in asked if "push" in call]
    assert pushed.count("executor_runner") == pushed.count("onnxruntime_perf_test") == 1
    removed = [call[-1] for call in asked if call[-1].startswith("rm -f")]
    for name in ("image.int8.onnx", "text.int8.onnx", "image.int8.pte", "text.int8.pte"):
        assert name in pushed
        assert any(name in command for command in removed)
    runs = [call[-1] for call in asked if "&&" in call[-1]]
    assert "-m times -r 20 -x 1 -f batch:1 image.int8.onnx" in runs[0]
    assert "-f batch:1 -f length:8 text.int8.onnx" in runs[1]
    assert "--model_path=image.int8.pte --num_executions=30 --cpu_threads=1" in runs[2]


def test_old_logs_that_hold_the_total_alone_give_a_mean_and_no_percentile(phone):
    phone.answer({"logcat -d": OLD_LOG})
    latency = phone.run().rows[1].latency_ms["image"]
    assert (latency.mean, latency.n, latency.p50, latency.quantiles) == (2.5, 40, None, ())


def test_output_without_times_shows_how_to_look(phone):
    phone.answer({"logcat -d": "", "executor_runner --model_path": "Segmentation fault\n"})
    with pytest.raises(
        UserError,
        match=r"executor_runner printed no times for image\.int8\.pte on 35AB\. Run it there by hand: .*-s 35AB shell",
    ):
        phone.run()


def test_a_command_that_fails_is_named_with_its_reason(phone):
    phone.answer({"chmod": 13})
    with pytest.raises(UserError, match=r"chmod \+x .* failed \(exit code 13\): it broke"):
        phone.run()


@pytest.mark.parametrize(
    ("listed", "serial", "message"),
    [
        ("List of devices attached\n\n", None, r"no phone is ready \(none is attached\)"),
        (
            "List of devices attached\n35AB\tunauthorized\n",
            None,
            r"no phone is ready \(35AB is unauthorized\)\. .*allow this computer",
        ),
        (
            "List of devices attached\nA\tdevice\nB\tdevice\n",
            None,
            r"several phones are attached: A, B\. Name one: --serial A",
        ),
        ("List of devices attached\nA\tdevice\nB\toffline\n", "B", r"phone B is offline\. Attached and ready: A"),
        ("List of devices attached\nA\tdevice\n", "C", r"phone C is not attached\. Attached and ready: A"),
    ],
)
def test_the_right_phone_has_to_be_ready(phone, listed, serial, message):
    phone.answer({"devices": listed})
    with pytest.raises(UserError, match=message):
        phone.run(serial=serial)


def test_one_of_several_phones_can_be_named(phone):
    phone.answer({"devices": "List of devices attached\nA\tdevice\nB\tdevice\n"})
    phone.run(serial="B")
    assert all(call[:2] == ["-s", "B"] for call in phone.asked()[1:])


def test_a_phone_that_does_not_answer_ends_in_one_line(phone):
    phone.adb.write_text(
        f"#!{sys.executable}\nimport sys, time\n"
        "if sys.argv[1] != 'devices':\n    time.sleep(60)\nprint('List\\nA\\tdevice')\n",
        "utf-8",
    )
    android = phone.suite.android.model_copy(update={"timeout": 1.0})
    phone.suite = phone.suite.model_copy(update={"android": android})
    with pytest.raises(UserError, match=r"no answer from the phone within 1 s: .*getprop.*screen unlocked"):
        phone.run()


def test_without_adb_or_programs_the_error_says_what_to_get(phone):
    with pytest.raises(UserError, match=r"'no-adb' is not installed; it comes with Android's platform-tools"):
        benchmark_android(phone.bundle, phone.suite, phone.folder / "report", adb="no-adb")
    with pytest.raises(UserError, match=r"android\.executorch_runner .* or android\.onnx_runner"):
        benchmark_android(phone.bundle, BenchmarkConfig(), phone.folder / "report", adb=str(phone.adb))


def test_output_of_other_programs_is_no_measurement():
    assert parse_executorch("Model file x is loaded.", 10) is None
    assert parse_onnxruntime("Session creation time cost: 0.1 s\n") is None


def test_both_spellings_of_onnxruntimes_mean_are_read():
    for words in ("cost", "cost total"):
        found = parse_onnxruntime(f"Total inference requests: 5\nAverage inference time {words}: 1.5e+00 ms\n")
        assert found is not None
        assert found.statistics == Statistics(mean=1.5, n=5)
