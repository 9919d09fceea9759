"""The instructions that the gate compares with, of towers of one shape: run again after a runtime was upgraded.

    python -m tests.tools.counts

The student is that of the export's tests, with random weights. Its files are exported and counted by the command line;
the reports are kept in tests/benchmarks/emulated/counts/, one per device.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from conaclip_edge.benchmarks.report.write import json_text
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, parse_report
from tests.helpers.bar_pictures import write_checkpoint, write_pictures
from tests.helpers.fixtures.export_fixtures import ship

DEVICES = ("arm64", "x86-64")
COUNTS = Path(__file__).parents[1] / "benchmarks" / "emulated" / "counts"


def count(bundle: Path, device: str, out: Path) -> BenchmarkReport:
    """Count the files of a bundle on a device, without recall and plain exports.

    Args:
        bundle: folder of it.
        device: "arm64" or "x86-64".
        out: folder of the report.
    """
    command = ["benchmark", bundle.name, "--device", device, "--out", out, "--json"]
    command += ["--set", "emulated.seconds=0", "--set", "comparison=[]"]
    called = [sys.executable, "-m", "conaclip_edge.cli.main", *map(str, command)]
    done = subprocess.run(called, capture_output=True, text=True, check=False, cwd=bundle.parent)
    assert done.returncode == 0, done.stderr
    return parse_report(json.loads(done.stdout), "the report")


def main() -> None:
    """Write the report of each device."""
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as scratch:
        home = Path(scratch)
        write_checkpoint(home / "student", write_pictures(home / "data"))
        ship(home / "student", home / "bundle")
        for device in DEVICES:
            report = count(home / "bundle", device, home / device)
            (COUNTS / f"{device}.json").write_text(json_text(report), "utf-8")


if __name__ == "__main__":
    main()
