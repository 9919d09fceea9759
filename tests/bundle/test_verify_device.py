"""A bundle is verified on another system as on this one: the same checks, the same bars, other kernels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conaclip_edge.bundle.verify import verify_table
from conaclip_edge.bundle.verify_device import verify_on_device
from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated.x86_64 import find_x86_64
from tests.helpers.benchmarks.devices import LABEL, emulated_arm64, stand_in
from tests.helpers.command_line import Run


def test_files_are_run_there_and_the_report_names_the_device(searched):
    report = verify_on_device(searched.bundle, stand_in())
    assert report.ok
    assert report.host.startswith(f"{LABEL} on Linux")
    plain = {f"onnx/{tower}.int8.{suffix}" for tower in ("image", "text") for suffix in ("onnx", "ort")}
    paths = plain | {"onnx/text.int8.accelerator.onnx"}
    assert {(file.path, file.executed) for file in report.files} == {(path, "emulated") for path in paths}
    assert "emulated" in verify_table(report)


@pytest.mark.parametrize("device", [emulated_arm64, find_x86_64])
def test_files_pass_the_bars_of_this_machine_on_the_kernels_of_others(searched, device):
    report = verify_on_device(searched.bundle, device())
    assert report.ok, report.problems
    assert all(file.executed == "emulated" and (file.cosine_min or 0) > 0.98 for file in report.files)


def test_a_changed_bundle_is_not_run_there(searched, tmp_path: Path):
    shutil.copytree(searched.bundle, tmp_path / "bundle")
    with (tmp_path / "bundle" / "onnx" / "image.int8.onnx").open("ab") as file:
        file.write(b"x")
    report = verify_on_device(tmp_path / "bundle", stand_in())
    assert [(problem.kind, problem.member) for problem in report.problems] == [("altered", "onnx/image.int8.onnx")]
    assert {file.executed for file in report.files} == {"not run"}


def test_a_bundle_of_which_nothing_runs_there_is_no_success(searched):
    machine = stand_in()
    machine.sites.clear()
    with pytest.raises(
        UserError, match=r"no file of .* runs on arm64.*: arm64 .* has no onnxruntime\. Add it: conaclip-edge doctor"
    ):
        verify_on_device(searched.bundle, machine)


def test_the_command_says_how_to_make_the_system_and_which_devices_there_are(
    searched, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, _, err = run("verify", searched.bundle, "--device", "arm64")
    assert code == 2
    assert err.strip().endswith("Make it: conaclip-edge doctor --prepare arm64")
    code, _, err = run("verify", searched.bundle, "--device", "arm46")
    assert (code, "Did you mean 'arm64'?" in err) == (2, True)
