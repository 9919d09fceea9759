"""x86-64 under emulation: what it needs is said in one line, and its plugin is made once."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated.x86_64 import find_x86_64

OLD = "#!/bin/sh\necho qemu-x86_64 version 6.2.0\n"
NO_PLUGINS = """#!/bin/sh
case "$*" in --version) echo "qemu-x86_64 version 8.1.0";; *) echo "qemu: unknown option 'plugin'" >&2; exit 1;; esac
"""


def qemu(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program in the place of qemu, before all others."""
    folder.mkdir()
    (folder / "qemu-x86_64").write_text(script, "utf-8")
    (folder / "qemu-x86_64").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_without_qemu_the_package_that_brings_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"qemu-x86_64 is not installed.*Get it: sudo apt-get install qemu-user$"):
        find_x86_64(tmp_path)


def test_a_qemu_without_avx2_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu(tmp_path / "bin", monkeypatch, OLD)
    with pytest.raises(UserError, match=r"is 6\.2\.0, and AVX2 is emulated since 7\.2\. Get qemu 7\.2 or newer"):
        find_x86_64(tmp_path)


def test_a_qemu_without_plugins_is_refused_and_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu(tmp_path / "bin", monkeypatch, NO_PLUGINS)
    with pytest.raises(
        UserError, match=r"does not run this machine's Python .*: qemu: unknown option 'plugin'\. Get qemu"
    ):
        find_x86_64(tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_without_a_compiler_the_packages_that_bring_it_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu(tmp_path / "bin", monkeypatch, NO_PLUGINS.replace("exit 1", "exit 0"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UserError, match=r"gcc is not installed, .*Get it: sudo apt-get install gcc libc6-dev$"):
        find_x86_64(tmp_path)


def test_another_kind_of_machine_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(UserError, match="x86-64 is emulated on an x86-64 Linux alone"):
        find_x86_64(tmp_path)


def test_it_counts_and_the_plugin_is_made_once(tmp_path: Path) -> None:
    device = find_x86_64(tmp_path)
    (plugin,) = tmp_path.iterdir()
    made = plugin.stat().st_mtime_ns
    assert find_x86_64(tmp_path) == device
    assert plugin.stat().st_mtime_ns == made
    assert device.counts
    assert device.sites["onnx"] == ()
    assert set(device.versions) >= {"qemu-x86_64", "python", "onnxruntime"}
