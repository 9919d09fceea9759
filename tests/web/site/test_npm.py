from __future__ import annotations

import json
from importlib.resources import files

import pytest

from conaclip_edge.errors import UserError
from conaclip_edge.web.site.npm import MODULES, site_modules

PINS = files("conaclip_edge.web") / "modules"


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """No modules in the cache, and a PATH on which a test puts its own npm."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "bin"


def fake_npm(folder, script):
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    (folder / "npm").chmod(0o755)


def test_without_npm_the_error_says_how_to_get_it(empty_cache, monkeypatch):
    monkeypatch.setenv("PATH", str(empty_cache))
    with pytest.raises(UserError, match=r"npm is not installed.*sudo apt-get install nodejs npm"):
        site_modules()


def test_a_failing_npm_is_one_line_and_leaves_no_half_cache(empty_cache):
    fake_npm(empty_cache, 'echo "npm error code ENOTFOUND" >&2; echo "npm error network is down" >&2; exit 1')
    with pytest.raises(UserError, match=r"^npm could not fetch .*code ENOTFOUND npm error network is down\. Look at"):
        site_modules()
    fake_npm(empty_cache, "exit 7")
    with pytest.raises(UserError, match="exit code 7"):
        site_modules()
    assert not list((empty_cache.parent / "cache").rglob("*site-*"))


def test_npm_runs_no_scripts_and_is_not_asked_twice(empty_cache):
    log = empty_cache.parent / "log"
    places = " ".join(f"node_modules/{place}" for place in MODULES.values())
    fake_npm(
        empty_cache,
        f'echo "$@" >> {log}; ls package-lock.json >> {log}\n'
        f'for file in {places}; do mkdir -p "$(dirname $file)"; echo $file > $file; done',
    )
    folder = site_modules()
    assert site_modules() == folder
    assert {path.name for path in folder.iterdir()} == {*MODULES, "versions.json"}
    arguments, lock = log.read_text("utf-8").splitlines()
    assert arguments.split()[:2] == ["ci", "--ignore-scripts"]
    assert lock == "package-lock.json"


def test_every_package_is_pinned_by_hash_and_by_no_host():
    wanted = json.loads((PINS / "package.json").read_text("utf-8"))["dependencies"]
    text = (PINS / "package-lock.json").read_text("utf-8")
    packages = json.loads(text)["packages"]
    assert packages.pop("")["dependencies"] == wanted
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())
    assert "http" not in text
    assert all(version[0].isdigit() for version in wanted.values()), "ranges would let another version in"
