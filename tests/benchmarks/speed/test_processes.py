"""The axes that look at processes: evaluation, start, export."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process
from conaclip_edge.benchmarks.speed.axes import cli_start, evaluation, export
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.errors import UserError

HELD = 200_000_000


def test_evaluation_reads_the_memory_of_what_it_runs_and_ranks_every_caption():
    cpu, wall, megabytes = in_fresh_process(evaluation.run, 200, 3, 2, 0)
    assert len(cpu) == len(wall) == 2
    vectors = (200 + 600) * evaluation.WIDTH * 4 / 1e6
    assert vectors < megabytes < vectors + 60
    seen = []
    evaluation.run(4, 3, 1, 0, lambda *arrays: seen.append([array.shape for array in arrays]))
    assert seen == [[(4, 512), (12, 512), (12,)]] * 2


def test_evaluation_compares_time_and_memory_with_their_bars():
    seconds, memory = evaluation.measure(SpeedConfig(), lambda *_: ([9.0, 11.0, 13.0], [20.0] * 3, 499.0))
    assert (seconds.value.median, seconds.bar, seconds.met, seconds.n) == (11, 10, False, 3)
    assert (memory.value.median, memory.bar, memory.met) == (499, 500, True)


def test_a_started_process_s_own_processor_time_is_counted_and_its_waiting_is_not():
    busy = [sys.executable, "-c", "import time\nwhile time.process_time() < 0.4: pass"]
    idle = [sys.executable, "-c", "import time; time.sleep(0.5)"]
    cpu, wall = cli_start.command_times(busy)
    assert 0.4 <= cpu <= wall + 0.1
    cpu, wall = cli_start.command_times(idle)
    assert wall >= 0.5
    assert cpu < 0.4


def test_start_compares_the_help_with_a_bare_typer_round_by_round():
    asked = []

    def times(command):
        asked.append(command)
        return (0.3, 0.4) if command == cli_start.HELP else (0.2, 0.1)

    (found,) = cli_start.measure(SpeedConfig(rounds=30), times)
    assert (found.value.median, found.wall.median) == (pytest.approx(1.5), pytest.approx(4))
    assert (found.n, found.bar, found.met) == (30, 2, True)
    pairs = [asked[first : first + 2] for first in range(0, len(asked), 2)]
    assert len(pairs) == 31
    assert all(cli_start.HELP in pair and cli_start.TYPER in pair for pair in pairs)
    assert {tuple(pair[0]) for pair in pairs} == {tuple(cli_start.HELP), tuple(cli_start.TYPER)}


def test_the_help_waits_for_no_module_that_a_bare_typer_does_not_load_but_the_project_s_own():
    # an interpreter's own start may have loaded __future__, or not
    bare = _modules("import __future__, typer.main")
    assert _modules("import __future__, typer.main, conaclip_edge.cli.main") - bare == {"conaclip_edge"}


def _modules(code: str) -> set[str]:
    code = f"{code}, sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_an_export_s_memory_is_that_of_all_its_processes_at_once():
    hold = f"import time; held = b'x' * {HELD}; time.sleep(1.5)"
    start_one = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {hold!r}])"
    both = f"{start_one}; {hold}; child.wait()"
    seconds, peak = export.command_costs([sys.executable, "-c", both])
    assert seconds >= 1.5
    assert 2 * HELD < peak < 3 * HELD


def test_an_export_that_fails_is_no_measurement():
    with pytest.raises(UserError, match=r"failed: no toolchain for that"):
        export.command_costs([sys.executable, "-c", "import sys; sys.exit('no toolchain for that')"])


def test_export_runs_the_real_command_on_the_checkpoint(tmp_path):
    asked = []

    def costs(command):
        asked.append(command)
        return 241.0, 5_000_000_000

    seconds, memory = export.measure(SpeedConfig(), tmp_path / "student", costs)
    assert asked[0][3:7] == ["export", str(tmp_path / "student"), "--target", "all"]
    assert asked[0][asked[0].index("--precision") + 1] == "int8"
    assert (seconds.value.median, seconds.bar, seconds.met) == (241, 240, False)
    assert (memory.value.median, memory.unit, memory.met) == (5, "GB", True)
