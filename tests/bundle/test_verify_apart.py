"""An ExecuTorch program that ends the process that runs it ends a child of `verify`, which names the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conaclip_edge.bundle.members import Problem
from conaclip_edge.bundle.verify import verify_bundle
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import read_json, write_json
from conaclip_edge.system.processes import apart
from tests.security import seeds

SECURITY = Path(__file__).parents[1] / "security"


def test_the_end_of_a_child_is_named() -> None:
    for function, arguments, end in ((os.abort, (), "SIGABRT"), (os._exit, (3,), "exit code 3")):
        with pytest.raises(UserError, match=f"^it died \\({end}\\) on {{x}}$"):
            apart("it died ({}) on {x}", function, *arguments)


def test_a_child_gives_its_result_and_its_errors() -> None:
    assert apart("died", os.path.basename, "a/b") == "b"
    with pytest.raises(UserError, match=r"^no page at gone\.$"):
        apart("died", read_json, Path("gone"), "page")


def test_a_program_made_to_end_the_process_is_a_line_of_verify(tmp_path: Path) -> None:
    bundle = seeds.bundle(tmp_path / "bundle")
    (bundle / "executorch").mkdir()
    data = (SECURITY / "corpus" / "pte" / "load-sigsegv").read_bytes()
    (bundle / "executorch" / "image.int8.pte").write_bytes(data)
    manifest = read_json(bundle / "manifest.json", "manifest")
    row = manifest["files"][0] | {"target": "executorch", "path": "executorch/image.int8.pte"}
    write_json(bundle / "manifest.json", manifest | {"files": [*manifest["files"], row]})
    seeds.seal(bundle, hash_members=True)
    report = verify_bundle(bundle)
    reason = "executorch's runtime died (SIGSEGV) on image.int8.pte: the file is damaged or made to do this"
    assert report.problems == (Problem("unreadable", "executorch/image.int8.pte", reason),)
    assert [file.executed for file in report.files] == ["native", "native", "not run"]
