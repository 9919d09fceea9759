from __future__ import annotations

import os
import platform

import numpy
import torch

from conaclip_edge.benchmarks.measure.machine import environment


def test_versions_are_those_that_run():
    found = environment()
    assert found.versions["python"] == platform.python_version()
    assert found.versions["numpy"] == numpy.__version__
    assert found.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found.kind == "host"
    assert found.memory_bytes is not None
    assert found.memory_bytes > 1e8


def test_cores_are_those_that_the_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert environment().cores == 1
        assert "1 core," in environment().label
    finally:
        os.sched_setaffinity(0, allowed)


def test_instruction_sets_and_processor_come_from_the_system(tmp_path):
    def with_cpuinfo(text: str):
        (tmp_path / "cpuinfo").write_text(text, "utf-8")
        return environment(tmp_path / "cpuinfo")

    intel = with_cpuinfo("processor\t: 0\nmodel name\t: Some Xeon\nflags\t\t: fpu avx2 avx512_vnni hypervisor\n\n")
    assert (intel.cpu, intel.isa, intel.virtual) == ("Some Xeon", ("avx2", "avx512_vnni"), True)
    arm = with_cpuinfo("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n")
    assert (arm.isa, arm.virtual) == (("asimd", "asimddp", "i8mm"), False)
    assert arm.cpu == f"{platform.machine()} processor"


def test_a_system_that_names_no_processor_is_described_as_far_as_it_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no sysctl
    found = environment(tmp_path / "gone")
    assert found.cpu in (platform.processor(), "unknown")
    assert found.isa == ()
    assert found.cores
