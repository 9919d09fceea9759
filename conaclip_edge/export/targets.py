"""From `--target`, `--precision` and `--set` to what is exported."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.config.parse import load_yaml, override, parse
from conaclip_edge.errors import UserError, unknown
from conaclip_edge.export.matrix import supported

TARGETS: tuple[str, ...] = get_args(ExportConfig.model_fields["target"].annotation)


def export_configs(target: str, settings: list[str] | None = None, precision: str | None = None) -> list[ExportConfig]:
    """Return what to export.

    Args:
        target: onnx, executorch or coreml; "all" of them; or a YAML file of ExportConfig's keys.
        settings: `key=value`, over the file's and the defaults.
        precision: over both.

    Raises:
        UserError: an unknown target or key, or a precision that a target does not have.
    """
    asked = [*(settings or []), *([f"precision={precision}"] if precision else [])]
    if target.endswith((".yaml", ".yml")):
        configs = [parse(ExportConfig, override(load_yaml(Path(target)), asked), target)]
    elif target in ("all", *TARGETS):
        names = TARGETS if target == "all" else (target,)
        configs = [_defaults(name, asked) for name in names]
    else:
        raise unknown("target", target, ("all", *TARGETS, "a .yaml file"), where="--target")
    for config in configs:
        supported(config.target, config.precision)
        if config.backend != "xnnpack" and config.target != "executorch":
            raise UserError(
                f"backend '{config.backend}' is a delegate of executorch; target '{config.target}' has none."
            )
    return configs


def _defaults(name: str, settings: list[str]) -> ExportConfig:
    config = parse(ExportConfig, override({"target": name}, settings), f"target '{name}'")
    if config.target != name:
        raise UserError(f"--set target={config.target} contradicts --target. Leave it out.")
    return config


def default_bundle(checkpoint: Path) -> Path:
    """Return where the bundle of a checkpoint goes without --out: `bundle` beside `student`, else `<name>.bundle`."""
    folder = checkpoint.resolve() if checkpoint.is_symlink() else checkpoint
    return folder.with_name("bundle" if folder.name == "student" else f"{folder.name}.bundle")
