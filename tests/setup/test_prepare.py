"""`doctor --prepare`: an emulated system is made once, and completed; what is missing for it is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conaclip_edge.runtime.emulated.arm64.system import arm64_folder
from tests.helpers.benchmarks.devices import emulated_arm64
from tests.helpers.command_line import Run


def test_a_system_that_is_whole_is_left_as_it_is(run: Run) -> None:
    emulated_arm64()
    record = arm64_folder() / "arm64.json"
    before = record.stat().st_mtime_ns
    code, out, err = run("doctor", "--prepare", "arm64-onnx", "--json")
    assert code == 0, err
    made = json.loads(out)
    assert "onnx" in made["targets"]
    assert made["versions"]["qemu-aarch64"]
    assert record.stat().st_mtime_ns == before
    hashes = json.loads(record.read_text("utf-8"))["sha256"]
    assert {len(value) for value in hashes.values()} == {64}
    assert any(name.startswith("libc6_") for name in hashes)
    assert any(name.startswith("onnxruntime-") for name in hashes)


def test_without_qemu_the_package_that_brings_it_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run("doctor", "--prepare", "arm64")
    assert code == 2
    assert "qemu-aarch64 is not installed" in err
    assert "sudo apt-get install qemu-user" in err
    assert not (tmp_path / "conaclip-edge").exists()


def test_an_unknown_device_is_named_with_the_known_ones(run: Run) -> None:
    code, _, err = run("doctor", "--prepare", "phone")
    assert (code, "Known: arm64, arm64-onnx" in err) == (2, True)
