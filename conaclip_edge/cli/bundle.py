"""The commands about a bundle: export, verify, lay it out for an app, sign it, make the key that signs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conaclip_edge.cli.output import JsonOption, SetOption, results


def add_bundle_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    for command in (export, verify, layout, sign, keygen):
        app.command()(command)


def export(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="Student, or a CLIP to export as it is; default: the newest run.")
    ] = None,
    target: Annotated[str, typer.Option(help="onnx, executorch, coreml, coreai, all, or a target file.")] = "all",
    precision: Annotated[
        str | None, typer.Option(help="int8, fp16 or fp32; default int8. --target all skips targets that lack it.")
    ] = None,
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Bundle; default: bundle/ beside the checkpoint.")] = None,
    data: Annotated[Path | None, typer.Option(help="Recipe or picture folder; default: the student's.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the bundle instead of adding to it.")] = False,
    qat: Annotated[
        bool, typer.Option("--qat", help="First train the image tower to be int8; kept as CHECKPOINT-int8.")
    ] = False,
    sensitivity: Annotated[bool, typer.Option("--sensitivity", help="List what each layer loses in int8.")] = False,
    layout: Annotated[
        str | None, typer.Option(metavar="NAME", help="Also lay the bundle out for an app: see layout --help.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Export a student's towers, run the files on held-out pairs, and keep what passes as a bundle.

    Example: conaclip-edge export --target coreml

    Without distilling: conaclip-edge export clip-vit-base-patch32 --data PICTURES
    """
    with results(as_json) as show:
        from conaclip_edge.api import export_bundle

        if layout:
            from conaclip_edge.layouts.table import find_layout

            made_of = find_layout(layout).made_of
        report = export_bundle(checkpoint, target, precision, settings or (), out, data, replace, sensitivity, qat)
        from conaclip_edge.export.report import export_table

        if not layout:
            show(report, export_table(report))
            return
        from conaclip_edge.layouts.report import layout_text
        from conaclip_edge.layouts.write import default_layout, write_layout

        source = report.checkpoint if made_of == "student" else report.bundle
        laid_out = write_layout(source, layout, data=data)
        text = layout_text(laid_out, str(default_layout(source, layout)))
        value = {"export": report.model_dump(mode="json", by_alias=True), "layout": laid_out.model_dump(mode="json")}
        show(value, f"{export_table(report)}\n{text}")


def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    trusted: Annotated[
        list[Path] | None, typer.Option(metavar="KEY.pub", help="Require a signature by this key; repeatable.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="arm64 or x86-64: run the files emulated; default: on this machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle: signature, hashes, golden vectors, and every file that this host can run.

    Example: conaclip-edge verify runs/demo/bundle --trusted release.pub
    """
    with results(as_json) as show:
        from conaclip_edge.bundle.verify import require_ok, verify_table
        from conaclip_edge.bundle.verify_device import verify_on

        report = verify_on(bundle, trusted or (), device)
        show(report, verify_table(report))
        require_ok(report)


def layout(
    source: Annotated[Path, typer.Argument(help="Folder of the bundle; of the student, for huggingface.")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Client that loads it, such as transformers-js.")],
    out: Annotated[Path | None, typer.Option(help="Folder; default: BUNDLE-NAME, beside the bundle.")] = None,
    data: Annotated[Path | None, typer.Option(help="Recipe or picture folder; default: the student's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle's int8 files as an app loads them, and measure them under that app's own preprocessing.

    Example: conaclip-edge layout runs/demo/bundle --as transformers-js
    """
    with results(as_json) as show:
        from conaclip_edge.layouts.report import layout_text
        from conaclip_edge.layouts.write import default_layout, write_layout

        report = write_layout(source, name, out, data)
        show(report, layout_text(report, str(out or default_layout(source, name))))


def sign(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    key: Annotated[Path, typer.Option(help="Private key, as keygen writes it.")],
    as_json: JsonOption = False,
) -> None:
    """Sign a bundle, so that who has your public key can tell that it is yours and unchanged.

    Example: conaclip-edge sign runs/demo/bundle --key ~/keys/release
    """
    with results(as_json) as show:
        from conaclip_edge.bundle.signing import sign_bundle

        report = sign_bundle(bundle, key)
        check = f"conaclip-edge verify {bundle} --trusted {key}.pub"
        show(report, f"{bundle} is signed with key {report.fingerprint}. Check it: {check}")


def keygen(
    key: Annotated[Path, typer.Argument(help="File for the private key; the public one goes to FILE.pub.")],
    as_json: JsonOption = False,
) -> None:
    """Make a pair of ed25519 keys that sign bundles: keep the private one, give away the public one.

    Example: conaclip-edge keygen ~/keys/release
    """
    with results(as_json) as show:
        from conaclip_edge.bundle.signing import make_key

        report = make_key(key)
        show(report, f"key {report.fingerprint}: keep {key} to yourself, give {report.public} to who verifies")
