"""The commands `benchmark` and `report` as a user runs them, on a small student that was really exported."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conaclip_edge.benchmarks.report.answer_text import answer
from conaclip_edge.benchmarks.report.numbers import BY, FORMATS, value_at
from conaclip_edge.benchmarks.report_folder import default_report
from conaclip_edge.benchmarks.schema.report import read_report
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.config.load import benchmark_suite
from conaclip_edge.runtime.emulated.devices import DEVICES
from tests.benchmarks.phones.test_android import Phone
from tests.benchmarks.phones.test_ios import result as ios_result
from tests.helpers.benchmarks.devices import LABEL, stand_in
from tests.helpers.benchmarks.pages import read_page
from tests.helpers.benchmarks.sample import sample_report
from tests.helpers.command_line import Run, command
from tests.helpers.fixtures.made_once import MadeOnce

pytestmark = pytest.mark.long

SUITES = sorted((Path(__file__).parents[2] / "benchmarks" / "suites").glob("*.yaml"))
TINY: dict[str, Any] = {
    "name": "tiny",
    "split": "val",
    "comparison": ["teacher", "student", "plain-onnx-fp32", "plain-onnx-static", "plain-onnx"],
    "threads": [1],
    "batches": [1, 2],
    "inputs": 2,
    "rounds": {"warmup": 1, "min_rounds": 8, "max_rounds": 8, "seconds": 0.1},
    "loads": 1,
    "index": 20,
    "bootstrap": 50,
    "gallery": {"queries": ["w4 w5"], "examples": 2, "failures": 1},
    "min_relative_recall": 0.3,
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command line in the test's own folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: command(monkeypatch, capfd, *arguments)


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), "utf-8")
    return path


@pytest.fixture(scope="session")
def measured(shop: Path, suite: Path, made_once: MadeOnce) -> Path:
    """The folder of a report that the tests read."""
    from conaclip_edge.benchmarks.commands import benchmark

    config = benchmark_suite(suite, [])
    assert isinstance(config, BenchmarkConfig)

    def measure(folder: Path) -> None:
        report = benchmark(shop / "bundle", config, folder / "report")
        assert read_report(folder / "report" / "report.json") == report

    return made_once("measured", measure) / "report"


def changed(measured: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write a copy of a report with something changed in it."""
    values = json.loads((measured / "report.json").read_text("utf-8"))
    change(values)
    path.write_text(json.dumps(values), "utf-8")
    return path


def shipped(values: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in values["rows"] if row["id"] == "onnx-int8")


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_suite_of_the_repository_is_valid_and_says_how_to_run_it(path):
    assert benchmark_suite(path, []).name == path.stem
    comment = "".join(line for line in path.read_text("utf-8").splitlines() if line.startswith("#"))
    assert re.search(rf"conaclip-edge benchmark runs/(demo|vit)/bundle --suite benchmarks/suites/{path.name}", comment)


def test_the_demo_s_suite_is_what_runs_without_one():
    (path,) = (path for path in SUITES if path.stem == "demo")
    assert benchmark_suite(path, []) == benchmark_suite(None, []) == BenchmarkConfig()


def test_a_second_run_gives_the_same_recall_and_says_on_stdout_where_the_page_is(shop, suite, measured, run):
    code, out, err = run("benchmark", shop / "bundle", "--suite", suite, "--out", "again")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "report: again/report.html"
    assert "R@1/5/10" in lines[1]
    assert any(line.startswith(("> ONNX int8", "  ONNX int8")) for line in lines)
    assert "timing pictures, batch 1" in err
    assert {path.name for path in Path("again").iterdir()} == {"report.json", "report.md", "report.html"}
    first, second = (read_report(folder / "report.json") for folder in (measured, Path("again")))
    assert [row.id for row in first.rows] == [row.id for row in second.rows]
    for before, after in zip(first.rows, second.rows, strict=True):
        assert before.recall == after.recall
        assert before.recall_interval == after.recall_interval
        assert before.relative_recall == after.relative_recall
        assert before.alone == after.alone
    assert first.gallery == second.gallery


def test_rows_of_a_real_run_say_what_ran_them(shop, measured):
    report = read_report(measured / "report.json")
    rows = {row.id: row for row in report.rows}
    assert list(rows) == [
        *("onnx-int8", "onnx-int8-ort", "teacher-fp32", "student-fp32"),
        *("plain-onnx-fp32", "plain-onnx-static", "plain-onnx"),
        *("teacher", "infonce", "motis", "conaclip"),
    ]
    student, files = rows["student-fp32"], rows["onnx-int8"]
    assert files.recall is not None
    assert min(files.recall["t2i"].values()) > 50  # the student was fitted to these pairs
    assert files.executed == "native"
    assert set(files.latency_ms) == {"image", "text"}
    assert {"teacher-fp32", "student-fp32"} <= set(files.latency_ms["image"].ratio_to)
    assert set(files.alone) == {"image", "text"}
    assert list(files.stages["picture"]) == ["decode", "resize", "tower"]
    assert set(files.coverage) == {"image", "text"}
    assert student.relative_recall["teacher"]["t2i"].value > 1  # the teacher's weights are random
    assert rows["teacher-fp32"].relative_recall == {}
    assert files.size_bytes is not None
    assert files.size_bytes.image == (shop / "bundle/onnx/image.int8.onnx").stat().st_size
    assert report.environment.kind == "host"
    assert report.ship in ("onnx-int8", "onnx-int8-ort")
    assert [query.kind for query in report.gallery][:3] == ["typed", "example", "example"]


def test_every_plain_export_has_a_row_with_its_recall_and_times_of_the_same_rounds(measured):
    report = read_report(measured / "report.json")
    for name in ("plain-onnx-fp32", "plain-onnx-static", "plain-onnx"):
        plain = report.row(name)
        assert plain.mean_recall is not None
        assert plain.relative_recall["student"]["t2i"].value > 0
        assert set(plain.latency_ms) == {"image", "text"}
        assert all(name in report.row("onnx-int8").latency_ms[tower].ratio_to for tower in ("image", "text"))
    assert report.row("plain-onnx-fp32").recall == report.row("student-fp32").recall
    assert "calibrated on the 320 train pairs that the bundle's files" in report.row("plain-onnx-static").notes[1]
    server = next(one for one in report.platforms if one.platform == "Server")
    assert server.row == report.ship
    assert server.plain
    text = (measured / "report.md").read_text("utf-8")
    assert answer(report) in text
    assert all(report.row(one.row).label in answer(report) for one in server.plain)


def test_every_number_of_a_real_page_is_in_report_json(measured):
    values = json.loads((measured / "report.json").read_text("utf-8"))
    numbers = read_page((measured / "report.html").read_text("utf-8")).all("data")
    assert len(numbers) > 200
    for number in numbers:
        value = value_at(values, number.attributes["data-from"])
        if "data-over" in number.attributes:
            value = value / value_at(values, number.attributes["data-over"])
        if "data-minus" in number.attributes:
            value = value - value_at(values, number.attributes["data-minus"])
        if "data-plus" in number.attributes:
            value = value + value_at(values, number.attributes["data-plus"])
        shown = FORMATS[number.attributes["data-as"]](value)
        assert number.text in (shown, re.sub(f"( %| ms|{BY})$", "", shown)), number.attributes


def test_without_a_bundle_the_newest_run_s_is_measured(shop, suite, run, monkeypatch, tmp_path):
    from conaclip_edge.system.latest_run import point_latest

    point_latest(shop / "student")
    asked: list[Any] = []
    monkeypatch.setattr(
        "conaclip_edge.benchmarks.suite.run.run_benchmark",
        lambda bundle, config, out: asked.extend((bundle, out)) or sample_report(),
    )
    code, _, err = run("benchmark", "--suite", suite)
    assert code == 0, err
    assert asked == [shop / "bundle", shop / "report"]


def test_a_report_goes_beside_the_bundle():
    assert default_report(Path("runs/demo/bundle")) == Path("runs/demo/report")
    assert default_report(Path("runs/mine.bundle")) == Path("runs/mine.report")
    assert default_report(Path("runs/demo/bundle"), "android") == Path("runs/demo/report-android")


def test_a_report_is_no_worse_than_itself(measured, run):
    path = measured / "report.json"
    code, out, err = run("report", path, "--check", path)
    assert (code, err) == (0, "")
    assert "ONNX int8" in out
    assert not any(Path().iterdir()), "nothing was asked to be written"


def test_lost_recall_ends_with_exit_code_1_and_says_which(measured, tmp_path, run):
    def lose(values: dict[str, Any]) -> None:
        shipped(values)["recall"]["t2i"]["5"] -= 3.0

    worse = changed(measured, tmp_path / "worse.json", lose)
    code, _, err = run("report", worse, "--check", measured / "report.json")
    assert code == 1
    assert err.startswith("conaclip-edge: worse than ")
    assert "ONNX int8: t2i recall fell from" in err
    assert run("report", measured / "report.json", "--check", worse)[0] == 0


def test_a_slower_ratio_ends_with_exit_code_1_and_says_which(measured, tmp_path, run):
    def slow(values: dict[str, Any]) -> None:
        ratio = shipped(values)["latency_ms"]["text"]["ratio_to"]["student-fp32"]
        ratio.update({name: 100 * value for name, value in ratio.items()})

    slower = changed(measured, tmp_path / "slower.json", slow)
    code, _, err = run("report", slower, "--check", measured / "report.json")
    assert code == 1
    assert "ONNX int8: text tower takes" in err
    assert "of student-fp32's time, it was" in err
    assert run("report", measured / "report.json", "--check", slower)[0] == 0


def test_reports_of_two_machines_become_one(measured, tmp_path, run):
    def move(values: dict[str, Any]) -> None:
        values["environment"]["label"] = "another machine"
        for row in values["rows"]:
            row["host"] = "another machine"

    other = changed(measured, tmp_path / "other.json", move)
    code, out, err = run("report", measured / "report.json", other, "--out", "both", "--json")
    assert code == 0, err
    values = json.loads(out)
    assert values == json.loads(Path("both/report.json").read_text("utf-8"))
    assert {row["host"] for row in values["rows"]} == {values["environment"]["label"], "another machine"}
    assert Path("both/report.html").is_file()


def test_a_phone_is_measured_by_the_command(tmp_path, run, monkeypatch):
    phone = Phone(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "android.yaml"
    runners = {"executorch_runner": str(phone.runner), "onnx_runner": str(phone.runner), "runs": 20}
    path.write_text(yaml.safe_dump({"name": "android", "android": runners}), "utf-8")
    code, out, err = run("benchmark", phone.bundle, "--suite", path, "--device", "android", "--json")
    assert code == 0, err
    values = json.loads(out)
    assert values["environment"]["kind"] == "phone"
    assert values["model"]["bundle"] == "bundle", "a path of this machine is in the report"
    assert {row["host"] for row in values["rows"]} == {"Google Pixel 9, Android 16"}
    assert (tmp_path / "report-android" / "report.html").is_file()


def test_a_device_s_rows_join_the_report_of_the_host(shop, measured, run, monkeypatch, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report/report.json").write_bytes((measured / "report.json").read_bytes())
    monkeypatch.setitem(DEVICES, "arm64", lambda: stand_in(tmp_path))
    settings = ("--set", "split=val", "--set", "comparison=[student]")
    arguments = ("benchmark", shop / "bundle", *settings, "--device", "arm64", "--out", "arm64")
    for _ in range(2):  # the second run's rows take the place of the first's
        code, out, err = run(*arguments, "--into", "report/report.json", "--json")
        assert code == 0, err
    values = json.loads(out)
    assert values == json.loads(Path("report/report.json").read_text("utf-8"))
    ids = [row["id"] for row in values["rows"]]
    before = [row.id for row in read_report(measured / "report.json").rows]
    assert ids == [*before, "onnx-int8-arm64", "onnx-int8-ort-arm64"]
    android = next(one for one in values["platforms"] if one["platform"] == "Android")
    assert (android["basis"], android["work"]["where"]) == ("counted", LABEL)
    assert "counted" in Path("report/report.html").read_text("utf-8")


def test_a_report_of_another_bundle_gets_no_rows_and_nothing_is_measured(shop, measured, tmp_path, run):
    other = changed(measured, tmp_path / "other.json", lambda values: values["model"].update(digest="ab" * 32))
    code, _, err = run("benchmark", shop / "bundle", "--device", "arm64", "--into", other)
    assert code == 2
    assert "is of another bundle (abababababab.." in err


def test_an_iphone_gets_its_recipe_and_its_result_comes_back(tmp_path, run):
    from tests.benchmarks.phones.test_ios import small_bundle

    files = {f"coreml/{tower}.int8.mlpackage": "coreml" for tower in ("image", "text")}
    bundle = small_bundle(tmp_path / "bundle", files)
    code, out, err = run("benchmark", bundle, "--device", "ios")
    assert code == 0, err
    assert out.startswith(f"{tmp_path}/report-ios/README.md says what to run on a Mac with the iPhone: python ")
    (tmp_path / "ios.json").write_text(json.dumps(ios_result()), "utf-8")
    code, out, err = run("benchmark", bundle, "--device", "ios", "--result", tmp_path / "ios.json", "--out", "phone")
    assert code == 0, err
    assert out.startswith("report: phone/report.html\n")
    assert read_report(Path("phone/report.json")).environment.kind == "phone"


WRONG = {
    "device": (["nowhere", "--device", "andriod"], "unknown device 'andriod' in --device. Did you mean 'android'?"),
    "bundle": (["nowhere"], "no bundle at nowhere. Make one: conaclip-edge export --target all"),
    "serial": (["nowhere", "--serial", "1"], "--serial names an Android phone. Add --device android"),
    "result": (["nowhere", "--result", "x"], "--result is what an iPhone's Mac measured. Add --device ios"),
    "into": (["nowhere", "--into", "x"], "--into is the report that gets a device's rows. Name the device"),
    "suite": (["nowhere", "--suite", "gone.yaml"], "gone.yaml"),
    "key": (["nowhere", "--set", "rounds.secnds=1"], "Did you mean 'seconds'?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_ends_in_one_line(case, run):
    arguments, message = WRONG[case]
    code, out, err = run("benchmark", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
