"""The commands for signed bundles: make a key, sign with it. `verify --trusted` checks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conaclip_edge.cli_results import JsonOption, results


def add_signing_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command()(keygen)
    app.command()(sign)


def keygen(
    key: Annotated[Path, typer.Argument(help="File for the private key; the public one gets .pub behind its name.")],
    as_json: JsonOption = False,
) -> None:
    """Make an ed25519 key pair for signing bundles; nothing is overwritten.

    Example: conaclip-edge keygen ~/keys/release.pem
    """
    with results(as_json) as show:
        from conaclip_edge.export.keys import fingerprint, make_key, public_path, raw

        name, public = fingerprint(raw(make_key(key))), public_path(key)
        show(
            {"private": str(key), "public": str(public), "key": name},
            f"key {name}: private in {key}, keep it to yourself; public in {public}, give it out",
        )


def sign(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    key: Annotated[Path, typer.Option(help="Private key that keygen made; not inside the bundle.")],
    as_json: JsonOption = False,
) -> None:
    """Check a bundle's members and sign its manifest, which has the hash of each.

    Example: conaclip-edge sign runs/demo/bundle --key ~/keys/release.pem
    """
    with results(as_json) as show:
        from conaclip_edge.export.signing import sign_bundle

        outcome = sign_bundle(bundle, key)
        show(
            outcome,
            f"signed {outcome['members']} members of {bundle} by key {outcome['key']}. "
            f"Check it: conaclip-edge verify {bundle} --trusted KEY.pub",
        )
