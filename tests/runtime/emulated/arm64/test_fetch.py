"""Packages that cannot be fetched: each is named in one line, with what the program of others said."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated.arm64.fetch import unpack_debian, unpack_wheels

REFUSES = "#!/bin/sh\necho 'W: something else' >&2\necho 'E: Unable to locate package python3-minimal' >&2\nexit 100\n"


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Put programs in the place of all others."""
    folder.mkdir()
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(script, "utf-8")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def wheel(folder: Path, name: str, content: dict[str, str]) -> Path:
    """Write a wheel for arm64."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.2-cp311-cp311-manylinux_2_28_aarch64.whl"
    info = f"{name}-1.2.dist-info"
    about = {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n", f"{info}/RECORD": ""}
    about[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-manylinux_2_28_aarch64\n"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in (content | about).items():
            archive.writestr(member, text)
    return path


def test_without_apt_the_package_that_brings_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch)
    with pytest.raises(UserError, match=r"apt-get is not installed.* Get it: sudo apt-get install apt"):
        unpack_debian(tmp_path / "downloads", tmp_path)


def test_packages_that_apt_cannot_fetch_are_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, apt_get=REFUSES, dpkg_deb="#!/bin/sh\n")
    wanted = (
        r"could not fetch Debian's arm64 packages \(python3-minimal, .*\): Unable to locate package python3-minimal\."
    )
    with pytest.raises(UserError, match=wanted):
        unpack_debian(tmp_path / "downloads", tmp_path)


def test_lists_that_apt_cannot_fetch_are_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = "W: Failed to fetch http://debian/InRelease  Could not connect"
    script = (
        f"case \"$*\" in *update) echo '{failed}' >&2;; *) echo 'E: Unable to locate package x' >&2; exit 100;; esac"
    )
    programs(tmp_path / "bin", monkeypatch, apt_get=f"#!/bin/sh\n{script}\n", dpkg_deb="#!/bin/sh\n")
    wanted = r"arm64 packages .*: Failed to fetch http://debian/InRelease  Could not connect\. Look at the network"
    with pytest.raises(UserError, match=wanted):
        unpack_debian(tmp_path / "downloads", tmp_path)


@pytest.mark.parametrize("full", ["apt_get", "dpkg_deb"])
def test_on_a_full_disk_it_says_how_much_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str) -> None:
    archives = tmp_path / "downloads" / "archives"
    archives.mkdir(parents=True)
    (archives / "libc6.deb").write_bytes(b"")
    refuses = "#!/bin/sh\necho 'E: Write error - write (28: No space left on device)' >&2\nexit 2\n"
    scripts = {"apt_get": "#!/bin/sh\n", "dpkg_deb": "#!/bin/sh\n"} | {full: refuses}
    programs(tmp_path / "bin", monkeypatch, **scripts)
    with pytest.raises(
        UserError, match=r"No space left on device\)\. Free some space \(the system takes 1\.2 GB\), or"
    ):
        unpack_debian(tmp_path / "downloads", tmp_path)


def test_a_package_that_is_damaged_is_fetched_again_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archives = tmp_path / "downloads" / "archives"
    archives.mkdir(parents=True)
    (archives / "libc6.deb").write_bytes(b"half of it")
    programs(
        tmp_path / "bin", monkeypatch, apt_get="#!/bin/sh\n", dpkg_deb="#!/bin/sh\necho 'dpkg-deb: bad' >&2\nexit 2\n"
    )
    with pytest.raises(UserError, match=r"libc6\.deb cannot be unpacked: bad\. Run it again"):
        unpack_debian(tmp_path / "downloads", tmp_path)
    assert not (archives / "libc6.deb").exists()


def test_a_wheel_is_unpacked_with_its_version_and_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path / "index", "thing", {"thing/__init__.py": "x = 1\n"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    versions, hashes = unpack_wheels(["thing"], "3.11", tmp_path / "downloads", tmp_path / "site")
    assert versions == {"thing": "1.2"}
    assert [len(value) for value in hashes.values()] == [64]
    assert (tmp_path / "site" / "thing" / "__init__.py").read_text("utf-8") == "x = 1\n"


@pytest.mark.parametrize(("asked", "python"), [("other==3", "3.11"), ("thing==9", "3.11"), ("thing", "3.8")])
def test_a_wheel_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, python: str
) -> None:
    wheel(tmp_path / "index", "thing", {})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    with pytest.raises(UserError, match=rf"no wheel of {asked} for Python {python} on arm64 Linux: .*No matching"):
        unpack_wheels([asked], python, tmp_path / "downloads", tmp_path / "site")


def test_a_damaged_wheel_is_fetched_again_next_time(tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    path = wheel(downloads, "thing", {})
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"thing-1\.2-.*\.whl cannot be unpacked"):
        unpack_wheels([], "3.11", downloads, tmp_path / "site")
    assert not path.exists()
