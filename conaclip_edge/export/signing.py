"""Signatures of bundles: one ed25519 signature of the manifest's bytes, which hold the hash of every member."""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, ValidationError

from conaclip_edge.errors import UserError
from conaclip_edge.export.keys import fingerprint, raw, read_private_key
from conaclip_edge.export.manifest import Strict, manifest_bytes, parse_manifest, unlisted_files
from conaclip_edge.export.members import MANIFEST, SIGNATURE, Problem, member_problems
from conaclip_edge.files import atomic_file

SCHEMA: Literal["conaclip-edge/signature/1"] = "conaclip-edge/signature/1"
_PREFIX = b"conaclip-edge/bundle-signature/1\0"  # so that the key's signature under anything else is none of a bundle
_LARGEST = 4096  # bytes; a signature's file has about 260

State = Literal["unsigned", "signed", "trusted", "other-key", "altered"]


class Signature(Strict):
    """Content of manifest.json.sig.

    Attributes:
        algorithm: of the key and the signature.
        public_key: its 32 bytes in base64.
        signature: of a prefix and the manifest's bytes; 64 bytes in base64.
    """

    schema_: Literal["conaclip-edge/signature/1"] = Field(alias="schema")
    algorithm: Literal["ed25519"]
    public_key: str
    signature: str


@dataclass(frozen=True)
class Signed:
    """What a bundle's signature is worth.

    Attributes:
        state: "unsigned"; "signed" where it fits and no key was named as trusted; "trusted"; "other-key" where it fits
            and its key is not among the trusted ones; "altered" where it does not fit what is there.
        key: fingerprint of the key that it names, None where it names none.
        detail: the rest of the sentence for a person.
    """

    state: State
    key: str | None
    detail: str

    def problems(self, required: bool) -> list[Problem]:
        """List what is wrong with it; being unsigned is wrong where a trusted key is required."""
        wrong = self.state in ("altered", "other-key") or (required and self.state == "unsigned")
        return [Problem(f"signature-{self.state}", SIGNATURE, self.detail)] if wrong else []


def sign_bundle(bundle: Path, key: Path) -> dict[str, Any]:
    """Sign a bundle whose every member is what the manifest says; an older signature is replaced.

    Args:
        bundle: the folder.
        key: file of the private key, outside the bundle.

    Returns:
        {"bundle", "signature": its file, "key": fingerprint, "members": count}.

    Raises:
        UserError: the key cannot be used, the bundle is damaged, or it holds the key.
    """
    if Path(os.path.realpath(key)).is_relative_to(os.path.realpath(bundle)):
        raise UserError(f"private key {key} lies in bundle {bundle} and would ship with it. Move it out first.")
    private, file_hash = read_private_key(key)
    data = manifest_bytes(bundle)
    manifest = parse_manifest(data, str(bundle / MANIFEST))
    problems = member_problems(bundle, manifest.members) + unlisted_files(manifest)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"bundle {bundle} is damaged and was not signed: {problems[0]}{more}. Export again.")
    copies = [name for name, member in manifest.members.items() if member.sha256 == file_hash]
    if copies:
        raise UserError(f"{bundle / copies[0]} is a copy of the private key and would ship. Export again without it.")
    public = raw(private.public_key())
    with atomic_file(bundle / SIGNATURE) as temporary:
        temporary.write_text(signature_text(public, private.sign(_PREFIX + data)), encoding="utf-8")
    return {
        "bundle": str(bundle),
        "signature": str(bundle / SIGNATURE),
        "key": fingerprint(public),
        "members": len(manifest.members),
    }


def check_signature(bundle: Path, data: bytes, trusted: Collection[bytes] = ()) -> Signed:
    """Say what the signature of a bundle is worth; its members are not looked at.

    Args:
        bundle: the folder.
        data: the bytes of its manifest.
        trusted: public keys of 32 bytes; none where it only matters that the signature fits.
    """
    try:
        text = _signature_bytes(bundle)
        if text is None:
            return Signed("unsigned", None, "is not there: the bundle is not signed")
        public, signature = _parse(text)
    except UserError as error:
        return Signed("altered", None, str(error))
    name = fingerprint(public)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _PREFIX + data)
    except (InvalidSignature, ValueError):
        return Signed("altered", name, f"does not fit {MANIFEST}: one of the two was altered after key {name} signed")
    if not trusted:
        return Signed("signed", name, f"signed by key {name}. Whose key that is, it does not say: pass --trusted")
    if public not in trusted:
        return Signed("other-key", name, f"is by key {name}, which is not among the trusted ones")
    return Signed("trusted", name, f"signed by the trusted key {name}")


def altered_since(signed: Signed) -> Signed:
    """Say what a signature that fits the manifest is worth where the members do not."""
    if signed.state not in ("signed", "trusted"):
        return signed
    return Signed("altered", signed.key, f"fits {MANIFEST}, but the bundle was altered after key {signed.key} signed")


def signature_text(public: bytes, signature: bytes) -> str:
    """Write a signature out: there is one text for one content."""
    names = {"public_key": public, "signature": signature}
    values = {name: base64.b64encode(value).decode() for name, value in names.items()}
    return json.dumps({"schema": SCHEMA, "algorithm": "ed25519", **values}, indent=2) + "\n"


def _signature_bytes(bundle: Path) -> bytes | None:
    """Read a signature's file, None where there is none; links, pipes and devices are not opened."""
    path = bundle / SIGNATURE
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise UserError("is no plain file; a bundle holds plain files only")
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}") from None
    if len(data) > _LARGEST:
        raise UserError(f"is larger than {_LARGEST} bytes: no signature")
    return data


def _parse(data: bytes) -> tuple[bytes, bytes]:
    """Return public key and signature of a signature's file."""
    try:
        found = Signature.model_validate_json(data)
        public = base64.b64decode(found.public_key, validate=True)
        signature = base64.b64decode(found.signature, validate=True)
    except (ValidationError, binascii.Error, ValueError):
        raise UserError(f"is no signature of schema {SCHEMA}") from None
    if (len(public), len(signature)) != (32, 64) or signature_text(public, signature).encode() != data:
        raise UserError(f"is no signature of schema {SCHEMA} as sign writes it")
    return public, signature
