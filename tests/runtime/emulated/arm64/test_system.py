"""Which arm64 system is used, and what is said of one that is not there, not whole or out of date."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated.arm64.system import arm64_folder, prepared_arm64, this_machine
from conaclip_edge.runtime.emulated.device import host_version
from tests.helpers.benchmarks.devices import stand_in

QEMU = "#!/bin/sh\necho qemu-aarch64 version 7.2\n"


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a prepared system, and a program that looks like qemu."""
    folder = tmp_path / "cache, of mine" / "arm64"
    for part in ("root/usr/bin/python3.11", "sites/numpy/numpy.py", "count.so"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).touch()
    record = {
        "python": "root/usr/bin/python3.11",
        "emulator": "7.2",
        "sites": {"onnx": ["sites/numpy"]},
        "versions": {"onnxruntime": host_version("onnxruntime")},
        "sha256": {},
    }
    (folder / "arm64.json").write_text(json.dumps(record), "utf-8")
    emulator = tmp_path / "bin" / "qemu-aarch64"
    emulator.parent.mkdir()
    emulator.write_text(QEMU, "utf-8")
    emulator.chmod(0o755)
    monkeypatch.setenv("PATH", f"{emulator.parent}:/usr/bin:/bin")
    return folder


def test_a_prepared_system_is_run_by_qemu_as_a_phone_s_processor_and_counts(prepared: Path) -> None:
    machine = prepared_arm64(prepared)
    assert machine.label == "arm64 (emulated Cortex-A76)"
    assert machine.emulated
    assert machine.counts
    assert Path(machine.command[0]).name == "qemu-aarch64"
    assert machine.command[1:3] == ("-cpu", "cortex-a76")
    assert "cache,, of mine/arm64/count.so,to={counts}" in " ".join(machine.command)
    assert machine.sites == {"onnx": (str(prepared / "sites/numpy"),)}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("arm64.json", r"is not whole: its preparation did not end. Go on: conaclip-edge doctor --prepare arm64"),
        ("root/usr/bin/python3.11", r"is not whole: root/usr/bin/python3\.11 is missing. Make it again"),
        ("count.so", r"is not whole: count\.so is missing"),
    ],
)
def test_half_a_system_is_named_with_what_it_lacks(prepared: Path, part: str, message: str) -> None:
    (prepared / part).unlink()
    with pytest.raises(UserError, match=message):
        prepared_arm64(prepared)


def test_no_system_no_emulator_and_other_versions_are_one_line_each(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"no arm64 system at .*none. Make it: conaclip-edge doctor --prepare arm64"):
        prepared_arm64(tmp_path / "none")
    record = json.loads((prepared / "arm64.json").read_text("utf-8"))
    (prepared / "arm64.json").write_text(json.dumps(record | {"versions": {"onnxruntime": "0.1"}}), "utf-8")
    with pytest.raises(UserError, match=r"has onnxruntime 0\.1, this machine .* Bring it up to date"):
        prepared_arm64(prepared)
    (prepared / "arm64.json").write_text(json.dumps(record | {"emulator": "6.1"}), "utf-8")
    with pytest.raises(
        UserError, match=r"was made for qemu 6\.1, this machine has 7\.2\. Bring it up to date: conaclip"
    ):
        prepared_arm64(prepared)
    (prepared / "arm64.json").write_text("{}", "utf-8")
    with pytest.raises(UserError, match=r"arm64\.json is not what this version writes"):
        prepared_arm64(prepared)
    (prepared / "arm64.json").write_text(json.dumps(record), "utf-8")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"qemu-aarch64 is not installed.* Get it: sudo apt-get install qemu-user"):
        prepared_arm64(prepared)


def test_an_arm64_machine_needs_no_emulator() -> None:
    machine = this_machine()
    assert (machine.emulated, machine.counts) == (False, False)
    assert machine.sites["onnx"] == ()


def test_files_that_do_not_run_there_are_refused_with_the_reason(tmp_path: Path) -> None:
    for name, content in (("a.onnx", b""), ("b.pte", b"..CoreMLBackend.."), ("c.pte", b"XnnpackBackend")):
        (tmp_path / name).write_bytes(content)
    machine = stand_in()
    refusals = [machine.refusal(tmp_path / name) for name in ("a.onnx", "b.pte", "c.pte", "d.mlpackage")]
    apple = "Core ML runs on Apple devices alone"
    assert refusals == ["", apple, "", apple]
    machine.sites.pop("executorch")
    assert (
        machine.refusal(tmp_path / "c.pte")
        == f"{machine.label} has no executorch. Add it: conaclip-edge doctor --prepare arm64"
    )


def test_the_system_lies_in_the_user_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert arm64_folder() == tmp_path / "conaclip-edge" / "arm64"
