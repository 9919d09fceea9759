"""Signed bundles: an ed25519 signature of the manifest, which has the hash of every other file.

The signature says that the holder of a key vouches for a bundle; which keys are trusted is for the one who verifies.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, ValidationError

from conaclip_edge.bundle.manifest import manifest_bytes, parse_manifest, unlisted_files
from conaclip_edge.bundle.members import MANIFEST, SIGNATURE, Problem, member_problems
from conaclip_edge.config.base import Config
from conaclip_edge.errors import GateFailed, UserError
from conaclip_edge.system.files import atomic_file, not_written
from conaclip_edge.system.result import Result

SCHEMA: Literal["conaclip-edge/signature/1"] = "conaclip-edge/signature/1"
_SIGNED = b"conaclip-edge bundle manifest, signature 1\n"  # what else the same key may sign is no bundle
_LARGEST = 10_000  # bytes of a key or signature
_PEM = serialization.Encoding.PEM


class Signature(Config):
    """Content of the signature file; both values in base64."""

    schema_: Literal["conaclip-edge/signature/1"] = Field(SCHEMA, alias="schema")
    algorithm: Literal["ed25519"] = "ed25519"
    public_key: str
    signature: str


class KeyReport(Result):
    """A new pair of keys: the files and the fingerprint."""

    private: Path
    public: Path
    fingerprint: str


class SignReport(Result):
    """A signed bundle.

    Attributes:
        bundle: its folder.
        signature: file of the signature.
        digest: of the manifest.
        fingerprint: of the key.
    """

    bundle: Path
    signature: Path
    digest: str
    fingerprint: str


class SignatureStatus(Result):
    """What the signature of a bundle is worth.

    Attributes:
        status: "unsigned"; "altered": it does not fit the manifest; "signed": by whoever has that key; "untrusted": by
            none of the trusted keys; "trusted": by one of them.
        fingerprint: of the key, if there is one.
    """

    status: Literal["unsigned", "altered", "signed", "untrusted", "trusted"]
    fingerprint: str | None = None

    def of_changed_bundle(self) -> SignatureStatus:
        """Return what the signature is worth where the bundle is not what its manifest says."""
        return self.model_copy(update={"status": "altered"}) if self.status in ("signed", "trusted") else self

    def text(self) -> str:
        """Say it in a line."""
        return {
            "unsigned": "not signed",
            "altered": "changed after it was signed, or its signature was",
            "untrusted": f"signed with key {self.fingerprint}, which is not trusted",
            "signed": f"signed with key {self.fingerprint}; whose that is, --trusted KEY would check",
            "trusted": f"signed with the trusted key {self.fingerprint}",
        }[self.status]


def make_key(path: Path) -> KeyReport:
    """Write a new private key, which nobody else may read, and its public key as `<path>.pub`.

    Raises:
        UserError: one of the files exists, or cannot be written.
    """
    public = path.with_name(f"{path.name}.pub")
    for file in (path, public):
        if file.exists() or file.is_symlink():
            raise UserError(f"{file} exists and is left alone. Choose another name for the key.")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    shown = key.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        for file, content, mode in ((path, private, 0o600), (public, shown, 0o644)):
            file.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as handle:
                handle.write(content)
    except OSError as error:
        raise not_written(path, error) from error
    return KeyReport(private=path, public=public, fingerprint=fingerprint(key.public_key()))


def sign_bundle(bundle: Path, key_file: Path) -> SignReport:
    """Sign a bundle that is what its manifest says; an older signature is replaced.

    Args:
        bundle: the folder.
        key_file: a private key as `make_key` writes it, outside the bundle.

    Raises:
        GateFailed: a member is not what the manifest says.
        UserError: no bundle, or a key that cannot be used.
    """
    if Path(os.path.realpath(key_file)).is_relative_to(os.path.realpath(bundle)):
        raise UserError(f"key {key_file} lies in the bundle, which is passed on. Keep it somewhere else.")
    key, file_hash = _private_key(key_file)
    data = manifest_bytes(bundle)
    manifest = parse_manifest(data, str(bundle / MANIFEST))
    if problems := member_problems(bundle, manifest.members) + unlisted_files(manifest):
        raise GateFailed(f"{bundle} is not as it was exported and is not signed: {problems[0]}.")
    if copies := [name for name, member in manifest.members.items() if member.sha256 == file_hash]:
        raise UserError(f"{bundle / copies[0]} is a copy of the key, which is passed on. Export again without it.")
    with atomic_file(bundle / SIGNATURE) as temporary:
        temporary.write_bytes(_file_bytes(_raw(key.public_key()), key.sign(_SIGNED + data)))
    return SignReport(
        bundle=bundle,
        signature=bundle / SIGNATURE,
        digest=manifest.digest,
        fingerprint=fingerprint(key.public_key()),
    )


def check_signature(bundle: Path, data: bytes, trusted: Sequence[Path] = ()) -> tuple[SignatureStatus, list[Problem]]:
    """Look at the signature of a bundle.

    Args:
        bundle: the folder.
        data: its manifest, as it was read.
        trusted: files of public keys; where there are any, the bundle has to be signed by one of them.

    Returns:
        What it is worth, and what is wrong.

    Raises:
        UserError: a trusted key cannot be read.
    """
    known = {_raw(public_key(path)) for path in trusted}
    file = bundle / SIGNATURE
    if not (file.exists() or file.is_symlink()):
        missing = Problem("unsigned", SIGNATURE, "is not there: nobody vouches for this bundle")
        return SignatureStatus(status="unsigned"), [missing] if trusted else []
    try:
        text = _small(file)
        content = Signature.model_validate_json(text)
        public, signature = (base64.b64decode(part, validate=True) for part in (content.public_key, content.signature))
        if text != _file_bytes(public, signature):
            raise ValueError("written by something else")
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, _SIGNED + data)
    except InvalidSignature:
        detail = "does not fit the manifest: the bundle was changed after it was signed"
        problem = Problem("signature", SIGNATURE, detail)
        return SignatureStatus(status="altered", fingerprint=fingerprint(key)), [problem]
    except (OSError, ValidationError, binascii.Error, ValueError):
        return SignatureStatus(status="altered"), [Problem("signature", SIGNATURE, "is no signature")]
    name = fingerprint(key)
    if known and _raw(key) not in known:
        detail = f"was made with key {name}, which is not trusted"
        return SignatureStatus(status="untrusted", fingerprint=name), [Problem("untrusted", SIGNATURE, detail)]
    return SignatureStatus(status="trusted" if known else "signed", fingerprint=name), []


def public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key in PEM.

    Raises:
        UserError: it is something else.
    """
    try:
        data = _small(path)
        if data.count(b"-----BEGIN") > 1:
            raise UserError(f"{path} holds several keys. Give each a file of its own and repeat --trusted.")
        if b" PRIVATE KEY-----" in data:
            raise UserError(f"{path} is a private key, which nobody else should have. Trust its public one: {path}.pub")
        key = serialization.load_pem_public_key(data)
    except FileNotFoundError:
        raise UserError(f"no key at {path}. Ask the one who signed the bundle for it.") from None
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        raise _no_key(path, "public", f"{path.name}.pub") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public", f"{path.name}.pub")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the first 32 hex digits of the sha256 of a public key: too many to make a second key for."""
    return hashlib.sha256(_raw(key)).hexdigest()[:32]


def _private_key(path: Path) -> tuple[Ed25519PrivateKey, str]:
    """Read a private key; returns it and the sha256 of its file."""
    if path.is_symlink():
        raise UserError(f"key {path} is a symbolic link. Give the file that it points to.")
    try:
        mode = path.stat().st_mode
        data = _small(path)
    except FileNotFoundError:
        raise UserError(f"no key at {path}. Make one: conaclip-edge keygen {path}") from None
    except (OSError, ValueError):
        raise _no_key(path, "private", path.name) from None
    if stat.S_IMODE(mode) & 0o077:
        raise UserError(f"key {path} can be read by others. Make it yours alone: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise UserError(f"key {path} is encrypted, which is not supported. Give one without a password.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path, "private", path.name) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private", path.name)
    return key, hashlib.sha256(data).hexdigest()


def _no_key(path: Path, kind: str, name: str) -> UserError:
    return UserError(f"{path} is no {kind} ed25519 key in PEM. 'conaclip-edge keygen' writes one: {name}.")


def _small(path: Path) -> bytes:
    """Read a file that has to be small; ValueError if it is not, or no plain file."""
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST:
        raise ValueError(f"{path} is no small plain file")
    return path.read_bytes()


def _file_bytes(public: bytes, signature: bytes) -> bytes:
    """Write a signature out: there is one text for one content."""
    content = Signature(public_key=_text(public), signature=_text(signature))
    return f"{content.model_dump_json(by_alias=True, indent=2)}\n".encode()


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
