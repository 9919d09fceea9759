"""`doctor`: what works, and how to get the rest; also where nothing but the base is installed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from conaclip_edge.setup.doctor import EXTRAS_TRIED, DoctorReport, diagnose, doctor_text
from conaclip_edge.setup.try_packages import Accelerators, import_problems, modules_of
from conaclip_edge.system.extras import EXTRAS
from tests.helpers.command_line import Run


def found(problems: dict[str, str] | None = None, **given: Any) -> DoctorReport:
    def of(extras: Iterable[str]) -> dict[str, str]:
        return {extra: (problems or {}).get(extra, "") for extra in extras}

    return diagnose(of, **({"devices": Accelerators, "program": lambda name: None} | given))


def finding(report: DoctorReport, group: str, name: str) -> tuple[bool, str, str]:
    (one,) = [one for one in report.findings if (one.group, one.name) == (group, name)]
    return one.works, one.detail, one.get


def test_the_command_tries_the_packages_and_says_what_works(run: Run) -> None:
    code, out, err = run("doctor", "--json")
    assert code == 0, err
    works = {(one["group"], one["name"]): one["works"] for one in json.loads(out)["findings"]}
    wanted = [("work", "train"), ("export", "onnx"), ("export", "executorch"), ("export", "coreml"), ("device", "CPU")]
    assert [works[key] for key in wanted] == [True] * len(wanted)
    assert ("pictures", "HEIC") in works


def test_a_base_install_is_named_what_each_extra_brings() -> None:
    def ask() -> Accelerators:
        raise AssertionError("PyTorch is not there to be asked")

    missing = {extra: f"{modules_of(extra)[0]} is not installed" for extra in EXTRAS_TRIED}
    report = found(missing, devices=ask)
    assert finding(report, "work", "base")[0]
    assert finding(report, "run", "onnx")[0]
    works, detail, get = finding(report, "export", "executorch")
    assert not works
    assert detail.endswith("torch is not installed")
    assert get == "pip install 'conaclip-edge[executorch]'"
    assert "pip install 'conaclip-edge[all]'" in doctor_text(report)


def test_a_broken_package_is_named_and_the_other_targets_work() -> None:
    report = found({"coreml": "cannot be imported (ImportError: no libc)"})
    assert finding(report, "export", "onnx")[0]
    works, detail, get = finding(report, "run", "coreml")
    assert not works
    assert "no libc" in detail
    assert get == "pip install 'conaclip-edge[coreml]'"


def test_devices_and_programs_are_those_of_the_machine() -> None:
    report = found(devices=lambda: Accelerators(("H200",)), program=lambda name: f"/bin/{name}")
    assert finding(report, "device", "CUDA") == (True, "H200", "")
    assert finding(report, "tool", "adb")[0]
    works, _, get = finding(found(), "tool", "adb")
    assert not works
    assert "apt-get install adb" in get


def test_every_extra_that_brings_packages_is_tried() -> None:
    assert set(EXTRAS.values()) - {"heic"} == set(EXTRAS_TRIED)


def test_packages_are_imported_to_see_that_they_work() -> None:
    assert import_problems(["onnx", "demo"]) == {"onnx": "", "demo": ""}
