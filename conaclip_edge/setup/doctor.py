"""`doctor`: what works on this machine, and how to get what does not."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import psutil
from PIL import features

from conaclip_edge.data import decoders
from conaclip_edge.errors import UserError
from conaclip_edge.export.targets import TARGETS
from conaclip_edge.setup.try_packages import Accelerators, accelerators, import_problems
from conaclip_edge.system.processes import available_cores
from conaclip_edge.system.progress import say
from conaclip_edge.system.result import Result
from conaclip_edge.system.version import __version__
from conaclip_edge.web.measure.chromium import find_chromium

Group = Literal["work", "export", "run", "pictures", "device", "tool"]
TITLES: dict[Group, str] = {
    "work": "Commands",
    "export": "Export to a target",
    "run": "Run exported files",
    "pictures": "Picture formats",
    "device": "Devices to train on",
    "tool": "Programs of others",
}
EXTRAS_TRIED = ("train", "onnx", "executorch", "coreml", "coreai", "demo", "words", "open-clip")
_TOOLS = {
    "adb": ("benchmark --device android", "sudo apt-get install adb, or Android's platform-tools"),
    "qemu-aarch64": ("verify and benchmark --device arm64", "sudo apt-get install qemu-user"),
    "qemu-x86_64": ("verify and benchmark --device x86-64", "sudo apt-get install qemu-user"),
    "xcrun": ("benchmark --device ios, on a Mac", "Xcode, from the App Store of a Mac"),
    "node": ("web", "sudo apt-get install nodejs, or https://nodejs.org"),
    "npm": ("web", "sudo apt-get install npm, or https://nodejs.org"),
}


class Finding(Result):
    """One thing that works here or not.

    Attributes:
        group: what kind of thing it is.
        name: of the target, format, device or program.
        works: whether it can be used.
        detail: what it is for, its version, or what is wrong.
        get: how to get it; "" where it works, or cannot be had here.
    """

    group: Group
    name: str
    works: bool
    detail: str
    get: str = ""


class DoctorReport(Result):
    """What works on this machine.

    Attributes:
        version: of conaclip-edge.
        python: its version and the program.
        system: operating system and processor.
        cores: that may be used.
        memory_bytes: of the machine.
        memory_free_bytes: available now.
        findings: group by group.
    """

    version: str
    python: str
    system: str
    cores: int
    memory_bytes: int
    memory_free_bytes: int
    findings: tuple[Finding, ...]


def diagnose(
    problems: Callable[[Iterable[str]], dict[str, str]] = import_problems,
    devices: Callable[[], Accelerators] = accelerators,
    program: Callable[[str], str | None] = shutil.which,
) -> DoctorReport:
    """Try what the extras bring, and look for decoders, devices and programs.

    Args:
        problems: extras -> what is wrong with each, "" if nothing.
        devices: asks PyTorch for its devices; not called where it does not work.
        program: name -> path of a program, None if it is not there.
    """
    say("doctor: importing the packages of the extras, which takes some seconds")
    wrong = problems(EXTRAS_TRIED)
    memory = psutil.virtual_memory()
    findings = [*_work(wrong), *_targets(wrong), *_pictures()]
    findings += [*_devices(devices() if not wrong["train"] else None), *_tools(program)]
    return DoctorReport(
        version=__version__,
        python=f"{platform.python_version()} ({sys.executable})",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=available_cores(),
        memory_bytes=memory.total,
        memory_free_bytes=memory.available,
        findings=tuple(findings),
    )


def _work(wrong: dict[str, str]) -> Iterator[Finding]:
    base = "verify, evaluate, index, search, serve, report: bundles of ONNX files"
    yield Finding(group="work", name="base", works=True, detail=base)
    yield _extra("work", "train", "init, distill, compare, study, benchmark, evaluate a checkpoint", wrong, "train")
    yield _extra("work", "demo", "demo, its pictures and its teacher", wrong, "demo")
    yield _extra("work", "words", "layout words-and-files", wrong, "words")
    yield _extra("work", "open-clip", "teachers of OpenCLIP other than plain ViTs", wrong, "open-clip")


def _targets(wrong: dict[str, str]) -> Iterator[Finding]:
    for name, target in TARGETS.items():
        broken = next((extra for extra in ("train", name) if wrong[extra]), name)
        detail = f"{', '.join(target.precisions)}; runs on a phone by {target.backend}"
        yield _extra("export", name, detail, wrong, broken, install=name)
    yield Finding(group="run", name="onnx", works=True, detail="natively, by onnxruntime")
    yield _extra("run", "executorch", "natively, by ExecuTorch's own runtime", wrong, "executorch")
    coreml = "natively, by Core ML" if sys.platform == "darwin" else "by the reference interpreter: recall, not speed"
    yield _extra("run", "coreml", coreml, wrong, "coreml")
    coreai = "by Apple's executor on the CPU, or natively on macOS 27: recall, and speed on the latter alone"
    yield _extra("run", "coreai", coreai, wrong, "coreai")


def _extra(
    group: Group, name: str, detail: str, wrong: dict[str, str], extra: str, install: str | None = None
) -> Finding:
    """Make the finding of something that an extra brings.

    Args:
        group: of the finding.
        name: of the finding.
        detail: what it is for.
        wrong: extra -> its problem.
        extra: whose problem counts.
        install: the extra to install, where that is another one which includes it.
    """
    if not wrong[extra]:
        return Finding(group=group, name=name, works=True, detail=detail)
    get = f"pip install 'conaclip-edge[{install or extra}]'"
    return Finding(group=group, name=name, works=False, detail=f"{detail}: {wrong[extra]}", get=get)


def _pictures() -> Iterator[Finding]:
    yield Finding(group="pictures", name="JPEG, PNG, GIF, TIFF, BMP", works=True, detail="by Pillow")
    for name, feature in (("WebP", "webp"), ("AVIF", "avif")):
        works = bool(features.check(feature))
        get = "" if works else "a wheel of Pillow from PyPI, which has it"
        yield Finding(group="pictures", name=name, works=works, detail="by Pillow", get=get)
    installs = {one.name: one.install for one in (decoders.HEIC, decoders.JPEG_XL)}
    for name, works in decoders.installed().items():
        get = "" if works else f"pip install {installs[name]}"
        yield Finding(group="pictures", name=name, works=works, detail="by a package of its own", get=get)


def _devices(found: Accelerators | None) -> Iterator[Finding]:
    cores = available_cores()
    processor = f"{cores} {'core' if cores == 1 else 'cores'} of {platform.processor() or platform.machine()}"
    yield Finding(group="device", name="CPU", works=True, detail=processor)
    if found is None:
        yield Finding(group="device", name="GPU", works=False, detail="is asked for by PyTorch, which is not there")
        return
    cards = ", ".join(found.cuda)
    get = "" if found.cuda else "a machine with an NVIDIA GPU and a PyTorch built for CUDA, see https://pytorch.org"
    yield Finding(group="device", name="CUDA", works=bool(found.cuda), detail=cards or "PyTorch finds no GPU", get=get)
    if sys.platform == "darwin":
        yield Finding(group="device", name="MPS", works=found.mps, detail="Apple's GPU, by PyTorch")


def _tools(program: Callable[[str], str | None]) -> Iterator[Finding]:
    for name, (use, get) in _TOOLS.items():
        path = program(name)
        yield Finding(group="tool", name=name, works=bool(path), detail=f"for {use}", get="" if path else get)
    try:
        yield Finding(group="tool", name="chromium", works=True, detail=f"for measuring a site: {find_chromium()}")
    except UserError as error:
        get = str(error).partition("Get it: ")[2]
        yield Finding(group="tool", name="chromium", works=False, detail="for measuring a site", get=get)


def doctor_text(report: DoctorReport) -> str:
    """Write the findings for a terminal, and at the end how to get what is missing."""
    memory = f"{report.memory_bytes / 1e9:.1f} GB of memory, {report.memory_free_bytes / 1e9:.1f} free"
    lines = [
        f"conaclip-edge {report.version}, Python {report.python}",
        f"{report.system}, {report.cores} {'core' if report.cores == 1 else 'cores'}, {memory}",
    ]
    for group, title in TITLES.items():
        lines += ["", title]
        for one in report.findings:
            if one.group == group:
                lines.append(f"  {'yes' if one.works else 'no ':<4}{one.name}: {one.detail}")
                lines += [f"      get it: {one.get}"] if one.get else []
    missing = any(not one.works for one in report.findings if one.group in ("work", "export", "run"))
    lines += ["", "Everything at once: pip install 'conaclip-edge[all]'"] if missing else []
    return "\n".join([*lines, "", "Next: conaclip-edge init PICTURES --teacher MODEL"])
