"""The command line: light until a command runs, one JSON document, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import yaml

from conaclip_edge import __version__
from conaclip_edge.cli.main import main
from conaclip_edge.cli.output import results
from conaclip_edge.errors import GateFailed, UserError
from conaclip_edge.system.progress import say
from tests.helpers.command_line import Run, ended

HEAVY = {"torch", "transformers", "coremltools", "executorch", "onnxruntime", "datasets"}


def test_nothing_heavy_is_imported_before_a_command_runs(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("trian: {}\n", "utf-8")
    lines = [
        "--help",
        "--version",
        "",
        "distill --help",
        "distil",
        "distill --stpes 3",
        "evaluate",
        "distill wrong.yaml",
        "export --target corml",
        "export --precision int4",
        "verify",
        "benchmark --help",
        "report",
        "presets",
        "info nowhere",
        "info wrong.yaml",
        "init nowhere",
        "init . --teacher ./nowhere",
        "distill --set teacher=./wrong.yaml",
        "distill --out wrong.yaml",
        "train-teacher --out wrong.yaml",
        "convert . --out new",
        "compare --graphs infonce,moits",
        "cache --set teacher=.",
        "export . --target onnx",
        "evaluate .",
        "benchmark .",
        "report wrong.yaml --out wrong.yaml",
        "verify .",
    ]
    code = f"""
import json, sys
from conaclip_edge.cli.main import main
codes = []
for line in {lines!r}:
    sys.argv = ["conaclip-edge", *line.split()]
    try:
        main()
    except SystemExit as end:
        codes.append(end.code or 0)
print()
print(json.dumps([codes, sorted(set(sys.modules) & {HEAVY!r})]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True, timeout=100
    )
    codes, heavy = json.loads(done.stdout.splitlines()[-1])
    assert heavy == []
    assert codes == [0, 0, 2, 0, 2, 2, 2, 2, 2, 2, 2, 0, 2, 0, 2, 2, 2, 2, *[2] * 11]
    assert f"conaclip-edge {__version__}" in done.stdout
    assert "Did you mean 'train'?" in done.stderr


def test_distill_and_evaluate_give_one_json_document_each(run: Run, recipe: Callable[..., Path]) -> None:
    code, out, err = run("distill", recipe(), "--out", "out", "--json")
    assert code == 0, err
    record = json.loads(out)
    assert record["checkpoint"] == "out"
    assert record["val"] == json.loads(Path("out/training.json").read_text("utf-8"))["val"]
    assert "distil 1/1" in err
    assert Path("runs/latest").resolve() == Path("out").resolve()
    code, out, _ = run("evaluate", "out", "--split", "val", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["recall"] == record["val"]["recall"]
    assert set(found) >= {"model", "dataset", "recall", "interval_95", "median_rank", "mean_recall"}
    code, out, _ = run("evaluate", "out", "--split", "val")
    assert code == 0
    assert f"mean of the six: {found['mean_recall']:.1f} %" in out


def test_what_libraries_print_goes_to_stderr() -> None:
    code = """
import os
from conaclip_edge.cli.output import results
with results({as_json}) as show:
    print("a library prints")
    os.write(1, b"a C library prints\\n")
    show({{"text": "zażółć 猫"}}, "done")
print("after")
"""
    for as_json, wanted in ((True, '{\n  "text": "zażółć 猫"\n}\nafter\n'), (False, "done\nafter\n")):
        command = [sys.executable, "-c", code.format(as_json=as_json)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
        assert done.stdout == wanted
        assert sorted(done.stderr.splitlines()) == ["a C library prints", "a library prints"]


def program(work: Callable[[], None]) -> Callable[[], object]:
    """A command line whose only command does some work and shows a table."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command()
    def command() -> None:
        with results(False) as show:
            work()
            show({}, "table")

    return lambda: app([])


def raising(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return program(fail)


def test_only_the_first_of_several_processes_speaks(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for rank, shown in (("0", "table\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        assert ended(capfd, program(lambda: say("news"))) == (0, shown, "news\n" if shown else "")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (GateFailed("recall is too low"), 1, "conaclip-edge: recall is too low"),
        (KeyboardInterrupt(), 130, "conaclip-edge: interrupted; what was saved is kept."),
        (
            RuntimeError("two\nlines"),
            2,
            "conaclip-edge: internal error: RuntimeError: two lines. Please report it; "
            "CONACLIP_EDGE_DEBUG=1 shows where.",
        ),
    ],
    ids=["gate", "interrupt", "internal"],
)
def test_every_end_has_its_exit_code_and_its_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    monkeypatch.delenv("CONACLIP_EDGE_DEBUG", raising=False)
    assert ended(capfd, raising(error)) == (code, "", line + "\n")


def test_a_debugger_gets_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONACLIP_EDGE_DEBUG", "1")
    with pytest.raises(RuntimeError, match="where"):
        main(raising(RuntimeError("where")))


def test_a_checkpoint_of_an_older_version_is_still_evaluated_on_its_own_data(
    run: Run, recipe: Callable[..., Path]
) -> None:
    assert run("distill", recipe(), "--out", "out")[0] == 0
    record = json.loads(Path("out/training.json").read_text("utf-8"))
    plain = json.loads(run("evaluate", "out", "--json")[1])
    record["recipe"]["invented"] = record["recipe"].pop("synthetic")  # as it was called
    Path("out/training.json").write_text(json.dumps(record), "utf-8")
    assert json.loads(run("evaluate", "out", "--json")[1]) == plain


def test_settings_and_file_make_the_recipe_that_the_checkpoint_keeps(run: Run, recipe: Callable[..., Path]) -> None:
    file = recipe()
    code, _, err = run("distill", file, "--set", "train.lr=1e-4", "--set", "name=mine", "--set", "seed=3")
    assert code == 0, err
    kept = json.loads(Path("runs/mine/training.json").read_text("utf-8"))["recipe"]
    assert (kept["train"]["lr"], kept["name"], kept["seed"]) == (1e-4, "mine", 3)
    assert kept["train"]["steps"] == yaml.safe_load(file.read_text("utf-8"))["train"]["steps"]


def test_an_error_that_a_signal_caused_in_a_library_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    """A library that is interrupted while it is imported may raise anything."""

    def interrupted() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except KeyboardInterrupt:
            raise UserError("cannot read data: partially initialized module.") from None

    line = "conaclip-edge: interrupted; what was saved is kept.\n"
    assert ended(capfd, program(interrupted)) == (143, "", line)
    assert ended(capfd, raising(UserError("wrong")))[0] == 2
