"""The table of export targets, and what `--target`, `--precision` and `--set` ask for of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.config.parse import load_yaml, override, parse
from conaclip_edge.errors import NotInstalled, UserError, unknown
from conaclip_edge.system.extras import extras_needed, require_extra

_WAY_OUT = "Correct the path, or name a target such as onnx."  # where there is no such target file
# (Towers, Calibration, ExportConfig, folder) -> notes. The first two come with torch, which takes seconds to import,
# and a wrong target is to be reported at once.
Exporter = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Target:
    """What one export target is; `conaclip_edge.runtime.open_tower.RUNTIMES` says what opens its files.

    Attributes:
        name: as `--target` has it, and the folder in the bundle.
        module: imported when it is needed. Its `export(towers, calibration, config, folder)` writes
            `{image,text}.<precision><suffix>` for each suffix of the target into the folder and returns notes for the
            manifest: those of one tower are under "image" or "text", seconds of work under "seconds". It may write a
            tower in a form of its own beside (`text.<precision>.accelerator<suffix>`, notes under
            "text.accelerator"). Which packages it may need is in `conaclip_edge.system.extras`.
        precisions: precision -> what is done to weights and activations.
        backend: what runs the files on the device.
        other_backends: those that the setting `backend` can name instead; each has a folder of its own in the bundle.
        everywhere: its packages are made for every system; else "all" leaves it out where they are not installed. The
            extra that brings them has the target's name.
    """

    name: str
    module: str
    precisions: dict[str, str]
    backend: str
    other_backends: tuple[str, ...] = ()
    everywhere: bool = True

    def exporter(self) -> Exporter:
        """Import and return the function that exports to this target.

        Raises:
            NotInstalled: a package that it needs is not installed; the message names the extra that brings it.
        """
        try:
            with extras_needed():
                found: Exporter = import_module(self.module).export
        except NotInstalled as error:
            raise NotInstalled(f"target '{self.name}' cannot be exported on this host: {error}") from error
        return found

    def backend_of(self, config: ExportConfig) -> str:
        """Return what runs the files of a config on the device."""
        return config.backend if config.backend in self.other_backends else self.backend

    def folder_of(self, config: ExportConfig) -> str:
        """Return the folder in the bundle for the files of a config, e.g. "onnx" or "executorch-coreml"."""
        backend = self.backend_of(config)
        return self.name if backend == self.backend else f"{self.name}-{backend}"

    def title_of(self, config: ExportConfig) -> str:
        """Return what a config is called in messages and reports, e.g. "onnx int8"."""
        return f"{self.folder_of(config)} {config.precision}"


_TARGETS = (
    Target(
        "onnx",
        module="conaclip_edge.export.onnx.export",
        precisions={
            "fp32": "as trained",
            "fp16": "weights and activations float16, normalisation float32",
            "int8": "linear layers: int8 weights, activations quantised as they come; blocks of picture transformers: "
            "all products in int8, calibrated ranges; convolutions and token table: int8 weights, float arithmetic",
        },
        backend="onnxruntime",
    ),
    Target(
        "executorch",
        module="conaclip_edge.export.executorch.export",
        precisions={
            "fp32": "as trained",
            "int8": "linear layers and 1x1 convolutions: int8 weights, activations quantised as they come; other "
            "convolutions, and blocks of picture transformers: all products in int8, calibrated ranges; token table: "
            "int8 rows, float arithmetic",
        },
        backend="xnnpack",
        other_backends=("coreml",),
    ),
    Target(
        "coreml",
        module="conaclip_edge.export.coreml.export",
        precisions={
            "fp16": "weights and activations float16",
            "int8": "int8 weights, float16 arithmetic; or int8 activations too, on the ranges that the tower was "
            "trained on, or on calibrated ones where they do no harm",
        },
        backend="coreml",
    ),
    Target(
        "coreai",
        module="conaclip_edge.export.coreai.export",
        precisions={
            "fp16": "weights and activations float16",
            "int8": "int8 weights, float16 arithmetic; an image tower that was trained on grids: int8 activations too",
        },
        backend="coreai",
        everywhere=False,
    ),
)
TARGETS: dict[str, Target] = {target.name: target for target in _TARGETS}


_DEFAULT_BACKEND: str = ExportConfig.model_fields["backend"].default


def find_target(config: ExportConfig) -> Target:
    """Return the row of the table that a config asks for.

    Raises:
        UserError: an unknown target, or a precision or backend that the target does not have; names those that it has.
    """
    if config.target not in TARGETS:
        raise unknown("target", config.target, TARGETS)
    target = TARGETS[config.target]
    if config.precision not in target.precisions:
        others = sorted(name for name, other in TARGETS.items() if config.precision in other.precisions)
        raise UserError(
            f"target '{target.name}' has no precision '{config.precision}'. Known: "
            f"{', '.join(sorted(target.precisions))}. '{config.precision}' is possible for: {', '.join(others)}."
        )
    if config.backend == _DEFAULT_BACKEND:
        return target
    if not target.other_backends:
        of = [name for name, other in TARGETS.items() if config.backend in other.other_backends] or ["no target"]
        raise UserError(
            f"backend '{config.backend}' is a delegate of {', '.join(of)}; target '{target.name}' has no choice."
        )
    if config.backend not in (known := (target.backend, *target.other_backends)):
        raise unknown("backend", config.backend, known, where=f"target '{target.name}'")
    return target


@dataclass(frozen=True)
class Skipped:
    """A target of "all" that is left out, and why."""

    target: str
    reason: str

    def __str__(self) -> str:
        return f"{self.target} is skipped: {self.reason}"


def skipped_targets(target: str, settings: Sequence[str] | None = None, precision: str | None = None) -> list[Skipped]:
    """Return the targets of "all" that lack the precision that is asked for, or packages that not every system has.

    None where one target is named.

    Args:
        target: as of `export_configs`.
        settings: the same.
        precision: the same.
    """
    if target != "all":
        return []
    configs = [_defaults(name, _asked(settings, precision)) for name in TARGETS]
    return [Skipped(config.target, reason) for config in configs if (reason := _why_skipped(config)) is not None]


def _why_skipped(config: ExportConfig) -> str | None:
    target = TARGETS[config.target]
    if config.precision not in target.precisions:
        return f"it has no {config.precision}, but {' and '.join(sorted(target.precisions))}"
    if not target.everywhere:
        try:
            require_extra(target.name)
        except NotInstalled as error:
            return str(error)
    return None


def export_configs(
    target: str, settings: Sequence[str] | None = None, precision: str | None = None
) -> list[ExportConfig]:
    """Return what to export; of "all", those that can be made, see `skipped_targets`.

    Args:
        target: a name in `TARGETS`; "all" of them; or a YAML file of ExportConfig's keys.
        settings: `key=value`, over the file's and the defaults.
        precision: over both.

    Raises:
        UserError: an unknown target or key, or a precision or backend that the named target does not have.
    """
    asked = _asked(settings, precision)
    if target.endswith((".yaml", ".yml")):
        configs = [parse(ExportConfig, override(load_yaml(Path(target), "target file", _WAY_OUT), asked), target)]
    elif target in ("all", *TARGETS):
        lacking = [skipped.target for skipped in skipped_targets(target, settings, precision)]
        names = [name for name in TARGETS if name not in lacking] if target == "all" else [target]
        configs = [_defaults(name, asked) for name in names]
    else:
        raise unknown("target", target, ("all", *TARGETS, "a .yaml file"), where="--target")
    for config in configs:
        find_target(config)
    return configs


def _asked(settings: Sequence[str] | None, precision: str | None) -> list[str]:
    return [*(settings or []), *([f"precision={precision}"] if precision else [])]


def _defaults(name: str, settings: list[str]) -> ExportConfig:
    config = parse(ExportConfig, override({"target": name}, settings), f"target '{name}'")
    if config.target != name:
        raise UserError(f"--set target={config.target} contradicts --target. Leave it out.")
    return config


def default_bundle(checkpoint: Path) -> Path:
    """Return where the bundle of a checkpoint goes without --out: `bundle` beside `student`, else `<name>.bundle`."""
    # "." and the like have no name of their own
    folder = checkpoint.resolve() if checkpoint.is_symlink() or checkpoint.name in ("", "..") else checkpoint
    return folder.with_name("bundle" if folder.name == "student" else f"{folder.name}.bundle")
