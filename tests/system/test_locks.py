"""Two runs in one folder, and what a run that was killed leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import conaclip_edge
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import _HOST, atomic_file, atomic_folder
from conaclip_edge.system.locks import locked, only_run

HOLDS = """
import sys, time
from pathlib import Path
from conaclip_edge.system.files import atomic_file, atomic_folder
from conaclip_edge.system.locks import locked
out = Path(sys.argv[1])
with locked(out):
    print("held", flush=True)
    {work}
    time.sleep(60)
"""
WRITES = """
    with atomic_folder(out) as folder, atomic_file(out.with_name("file")) as file:
        (folder / "half").touch()
        file.touch()
        print("writing", flush=True)
        time.sleep(60)
"""
PUT_ASIDE = """
    import os
    real = os.replace
    def stops(source, target):
        if Path(target) == out:
            print("writing", flush=True)
            time.sleep(60)
        real(source, target)
    os.replace = stops
    with atomic_folder(out) as folder:
        (folder / "new").touch()
"""


def holder(out: Path, work: str = "", lines: int = 1) -> subprocess.Popen[str]:
    """Start a process that holds a place and says so."""
    command = [sys.executable, "-c", HOLDS.format(work=work.strip() and work), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(lines):
        assert process.stdout.readline()
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_run_is_named_which_folder_is_taken(tmp_path: Path) -> None:
    process = holder(tmp_path / "out")
    message = r"another run is writing .*/out\. Wait until it ends, or choose another --out\."
    with pytest.raises(UserError, match=message), locked(tmp_path / "out"):
        pass
    with locked(tmp_path / "other"):
        pass
    kill(process)


def test_a_killed_run_holds_nothing_and_the_next_one_leaves_no_lock(tmp_path: Path) -> None:
    kill(holder(tmp_path / "out"))
    with locked(tmp_path / "out"):
        assert names(tmp_path) == [".out.lock"]
    assert names(tmp_path) == []


def test_what_a_killed_run_half_wrote_is_removed_by_the_next_one(tmp_path: Path) -> None:
    kill(holder(tmp_path / "out", WRITES, 2))
    assert sum(name.endswith(".tmp") for name in names(tmp_path)) == 2
    with locked(tmp_path / "out"), atomic_file(tmp_path / "file") as temporary:
        temporary.touch()
    assert names(tmp_path) == ["file"]


def test_what_another_run_is_writing_is_left_alone(tmp_path: Path) -> None:
    process = holder(tmp_path / "theirs", WRITES, 2)
    for _ in range(2):
        with atomic_file(tmp_path / "file") as temporary, atomic_folder(tmp_path / "theirs"):
            temporary.touch()
    assert sum(name.endswith(".tmp") for name in names(tmp_path)) == 2
    kill(process)


def test_a_folder_that_a_killed_run_had_put_aside_is_taken_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "before").touch()
    kill(holder(out, PUT_ASIDE, 2))
    assert not out.exists()
    with locked(out):
        assert names(out) == ["before"]
    assert names(tmp_path) == ["out"]


def test_only_the_main_one_of_processes_that_train_together_takes_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @only_run
    def names_beside(out: Path) -> list[str]:
        return names(out.parent)

    assert names_beside(out=tmp_path / "out") == [".out.lock"]
    monkeypatch.setenv("RANK", "1")
    assert names_beside(tmp_path / "out") == []


def test_a_place_that_cannot_be_written_is_named() -> None:
    with (
        pytest.raises(UserError, match=r"^cannot write /proc/here/out: .*choose another --out\.$"),
        locked(Path("/proc/here/out")),
    ):
        pass


def ended(folder: Path, name: str, host: str) -> Path:
    """Lay down what a process that is no more left of a file."""
    left = folder / f".{name}.{host}-{2**22 + os.getpid()}-01234567.tmp"
    left.touch()
    return left


def test_what_a_process_on_another_machine_may_be_writing_is_left_alone(tmp_path: Path) -> None:
    theirs, ours = ended(tmp_path, "shard", "0" * 8), ended(tmp_path, "shard", _HOST)
    with atomic_file(tmp_path / "shard") as temporary:
        temporary.touch()
    assert theirs.exists()
    assert not ours.exists()


def test_no_decision_is_taken_by_a_clock_that_can_be_set() -> None:
    lines = [
        line.strip()
        for path in Path(conaclip_edge.__file__).parent.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if any(name in line for name in ("time.time(", "datetime.now(", "time.localtime(", "time.gmtime("))
    ]
    assert lines
    assert all("created" in line for line in lines)  # the time of day that a report shows


def test_a_name_with_the_signs_of_a_pattern_is_only_itself(tmp_path: Path) -> None:
    left = ended(tmp_path, "a", _HOST)
    with atomic_file(tmp_path / "[ab]") as temporary:
        temporary.touch()
    assert left.exists()
    with atomic_file(tmp_path / "a") as temporary:
        temporary.touch()
    assert not left.exists()
