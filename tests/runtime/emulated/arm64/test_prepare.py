"""Making an arm64 system: what was fetched is kept, and a preparation that stopped goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated.arm64.prepare import prepare_arm64
from conaclip_edge.runtime.emulated.arm64.system import prepared_arm64

# "fetches" one package into the folder that it is given, and writes down that it was asked
APT = """#!/bin/sh
for word in "$@"; do case $word in Dir::Cache=*) cache=${word#Dir::Cache=};; esac; done
echo asked >> "$ASKED"
echo package > "$cache/archives/python3.deb"
"""
DPKG = '#!/bin/sh\nmkdir -p "$3/usr/bin" && echo python > "$3/usr/bin/python3.11"\n'
NOTHING = "#!/bin/sh\n"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that look like those of Debian, no wheel anywhere; what apt was asked is written into the file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {"apt-get": APT, "dpkg-deb": DPKG, "qemu-aarch64": NOTHING, "gcc": NOTHING}
    for name, script in scripts.items():
        (folder / name).write_text(script, "utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return tmp_path / "asked"


def test_what_was_fetched_before_a_failure_is_not_fetched_again(asked: Path, tmp_path: Path) -> None:
    system = tmp_path / "cache" / "arm64"
    for _ in range(2):
        with pytest.raises(UserError, match=r"pip found no wheel of numpy for Python 3\.11 on arm64 Linux"):
            prepare_arm64(system, ("onnx",))
        with pytest.raises(UserError, match=r"is not whole: its preparation did not end\. Go on: conaclip-edge doctor"):
            prepared_arm64(system)
    assert len(asked.read_text("utf-8").split()) == 2  # update and install, once
    assert "Features" in (system / "root" / "proc" / "cpuinfo").read_text("utf-8")
    assert not [path for path in system.iterdir() if path.name.endswith(".tmp")]


def test_packages_without_a_python_are_said_and_not_kept(asked: Path, tmp_path: Path) -> None:
    (tmp_path / "bin" / "dpkg-deb").write_text(NOTHING, "utf-8")
    with pytest.raises(UserError, match=r"apt fetched for arm64 have no Python 3\. Look at the sources of apt"):
        prepare_arm64(tmp_path / "arm64", ("onnx",))
    assert not (tmp_path / "arm64" / "root").exists()
