"""Runs that end before their time: killed, interrupted, out of disk. What was saved goes on to the same student."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conaclip_edge.cli import main as cli
from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.distill import trainer
from conaclip_edge.distill.run_folder import RunFolder
from conaclip_edge.distill.trainer import distill
from conaclip_edge.errors import UserError
from conaclip_edge.system.signals import held_interrupt
from tests.helpers import tiny
from tests.helpers.full_disk import full_disk

STEPS = 60
# everything that has a state: optimiser, average, queue, batches of unpaired rows and views
RICH = {"steps": STEPS, "eval_every": 5, "ema": 0.9, "teacher_views": 2}
SECTIONS: dict[str, dict[str, Any]] = {"data": {"labelled": 0.5}, "graph": {"queue": 20}}


@pytest.fixture(scope="module")
def rich(world: Path, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe file, and the checkpoint of its uninterrupted run."""
    home = tmp_path_factory.mktemp("rich")
    config: DistillConfig = settings(**RICH, **SECTIONS)
    file = tiny.write_recipe(home / "rich.yaml", config.model_dump(mode="json", exclude_unset=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))
        distill(config, home / "whole")
    return file, home / "whole"


def start(recipe: Path, *more: str) -> subprocess.Popen[str]:
    """Start `conaclip-edge distill` as a user does."""
    return subprocess.Popen(
        [sys.executable, "-m", "conaclip_edge.cli.main", "distill", str(recipe), "--out", "out", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not ready():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)


def resume(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["conaclip-edge", "distill", str(recipe), "--out", "out", "--resume"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code


def assert_same(out: Path, whole: Path) -> None:
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (out / "training.jsonl").read_text("utf-8") == (whole / "training.jsonl").read_text("utf-8")
    ours, theirs = (json.loads((folder / "training.json").read_text("utf-8")) for folder in (out, whole))
    assert ours | {"seconds": 0} == theirs | {"seconds": 0}
    assert not out.with_name("out.run").exists()


def test_a_killed_run_resumes_to_the_very_same_student(
    rich: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, whole = rich
    process = start(recipe)
    wait_for(Path("out.run/state.safetensors").exists, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not Path("out").exists()
    resume(recipe, monkeypatch)
    assert_same(Path("out"), whole)


@pytest.mark.parametrize(("asked", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_step_has_its_exit_code_and_resumes_to_the_very_same_student(
    rich: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, asked: signal.Signals, code: int
) -> None:
    recipe, whole = rich
    process = start(recipe, "--json")
    log = Path("out.run/training.jsonl")
    wait_for(lambda: log.exists() and log.read_text("utf-8").count('"loss"') >= 7, process)
    os.kill(process.pid, asked)
    out, err = process.communicate()
    assert process.returncode == code, err
    assert out == ""
    assert "Traceback" not in err
    done = len([line for line in log.read_text("utf-8").splitlines() if '"loss"' in line])
    assert f"interrupted after step {done}, which is saved. Go on with --resume." in err
    assert done < STEPS
    assert not Path("out").exists()
    resume(recipe, monkeypatch)
    assert_same(Path("out"), whole)


def test_a_run_killed_while_it_wrote_its_log_has_no_line_twice(
    rich: tuple[Path, Path], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is ahead of the state by some steps, a recall and half a line."""
    recipe, whole = rich
    save = RunFolder.save_state

    def dies_before_step_15(self: RunFolder, *args: Any) -> None:
        if args[-1] == 15:
            raise MemoryError
        save(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_state", dies_before_step_15)
        with pytest.raises(MemoryError):
            distill(settings(**RICH, **SECTIONS), Path("out"))
    with open("out.run/training.jsonl", "a", encoding="utf-8") as log:
        log.write('{"step": 15, "lo')
    resume(recipe, monkeypatch)
    assert_same(Path("out"), whole)


@pytest.mark.parametrize("place", ["state", "log", "checkpoint"])
def test_a_full_disk_loses_nothing_that_was_saved(
    rich: tuple[Path, Path], settings: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    recipe, whole = rich
    owner, name, first, last, size = {
        "state": (RunFolder, "save_state", 10, "out.run/state.safetensors", 100_000),
        "log": (RunFolder, "log", 10, "out.run/training.jsonl", 2_000),
        "checkpoint": (trainer, "write_student", STEPS, "out", 100_000),
    }[place]
    real = getattr(owner, name)

    def on_a_full_disk(*args: Any) -> Any:
        step = args[-1] if place == "state" else args[-1]["step"] if place == "log" else STEPS
        if step < first:
            return real(*args)
        with full_disk(size):
            return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, on_a_full_disk)
        with pytest.raises(UserError) as error:
            distill(settings(**RICH, **SECTIONS), Path("out"))
    text = str(error.value)
    assert text.startswith(f"cannot write {last}: ")
    assert "too large" in text  # what the system says of a file over the limit
    assert text.endswith("Free some space or choose another --out.")
    assert sorted(path.name for path in Path().iterdir()) == ["out.run"]
    assert {path.name for path in Path("out.run").iterdir()} == {
        "recipe.json",
        "sources.json",
        "state.safetensors",
        "tokenizer.json",
        "training.jsonl",
    }
    resume(recipe, monkeypatch)
    assert_same(Path("out"), whole)


def test_an_older_checkpoint_stays_until_the_new_one_is_whole(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    distill(settings(steps=1), Path("out"))
    before = Path("out/model.safetensors").read_bytes()
    real = trainer.write_student

    def on_a_full_disk(*args: Any) -> None:
        with full_disk(100_000):
            real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "write_student", on_a_full_disk)
        with pytest.raises(UserError, match="cannot write out: "):
            distill(settings(steps=2), Path("out"))
    assert Path("out/model.safetensors").read_bytes() == before
    distill(settings(steps=2), Path("out"))
    assert Path("out/model.safetensors").read_bytes() != before
    assert [path.name for path in Path().iterdir()] == ["out"]


def test_nothing_to_resume_is_named(settings: Any) -> None:
    with pytest.raises(UserError, match=r"nothing to resume at out\.run\. Start without --resume\."):
        distill(settings(), Path("out"), resume=True)


def test_another_recipe_is_not_resumed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="became nan"):
        distill(settings(lr=1e30, eval_every=1), Path("out"))
    with pytest.raises(
        UserError, match=r"out\.run was started with another recipe \(out\.run/recipe\.json\)\. Use that"
    ):
        distill(settings(lr=0.001, eval_every=1), Path("out"), resume=True)


def test_a_second_ctrl_c_stops_at_once() -> None:
    # a shell starts background jobs with the signal ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with held_interrupt() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # the signal comes between two instructions
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)


def test_ctrl_c_is_as_before_after_the_training() -> None:
    before = signal.getsignal(signal.SIGINT)
    with held_interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
