"""Keys that sign bundles: ed25519 in PEM files, made, and read as what a stranger may have put there."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from conaclip_edge.errors import UserError

LARGEST = 4096  # bytes; an ed25519 key in PEM has about 120
_KNOWN_MISTAKES = {
    b"OPENSSH PRIVATE KEY": "is a key in OpenSSH's format",
    b"CERTIFICATE": "is a certificate",
}
_MAKE = "Make one: conaclip-edge keygen KEY"


def public_path(key: Path) -> Path:
    """Return where the public half of a private key's file lies."""
    return key.with_name(f"{key.name}.pub")


def raw(key: Ed25519PublicKey) -> bytes:
    """Return the 32 bytes of a public key."""
    return key.public_bytes_raw()


def fingerprint(public: bytes) -> str:
    """Return the sha256 of a public key's 32 bytes as hex: what people compare."""
    return hashlib.sha256(public).hexdigest()


def make_key(path: Path) -> Ed25519PublicKey:
    """Write a new private key that its owner alone may read, and its public half beside it.

    Args:
        path: of the private key; the public one gets ".pub" behind its name.

    Raises:
        UserError: one of the two is there already, or cannot be written.
    """
    key, public = Ed25519PrivateKey.generate(), public_path(path)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_made(path, error) from None
    _create(path, pem, 0o600)
    try:
        _create(public, _public_pem(key.public_key()), 0o644)
    except UserError:
        path.unlink()
        raise
    return key.public_key()


def read_private_key(path: Path) -> tuple[Ed25519PrivateKey, str]:
    """Read the private key of a file that no one but its owner may read.

    Returns:
        The key, and the sha256 of its file.

    Raises:
        UserError: there is no such file, it is a link or readable for others, or it holds anything else.
    """
    data = _read(path, "private key", links=False)
    mode = stat.S_IMODE(path.lstat().st_mode)
    if os.name == "posix" and mode & 0o077:
        raise UserError(f"private key {path} may be read by others (mode {mode:04o}). Close it: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise UserError(
            f"private key {path} is encrypted, and no passphrase is asked for. "
            f"Decrypt a copy where no one else reads: openssl pkey -in {path} -out KEY"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UserError(f"private key {path} {_mistake(data, 'is no private key in PEM')}. {_MAKE}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"private key {path} is no ed25519 key ({_kind(key)}). {_MAKE}")
    return key, hashlib.sha256(data).hexdigest()


def read_public_key(path: Path) -> bytes:
    """Read the public key of a file.

    Returns:
        Its 32 bytes.

    Raises:
        UserError: there is no such file, or it holds anything but one ed25519 public key.
    """
    data = _read(path, "public key", links=True)
    if b"PRIVATE KEY" in data:
        raise UserError(f"public key {path} is a private key: give out and trust its public half, {public_path(path)}.")
    if data.count(b"-----BEGIN") > 1:
        raise UserError(f"public key {path} holds several keys; put each into a file and repeat --trusted.")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise UserError(f"public key {path} {_mistake(data, 'is no public key in PEM')}. {_MAKE}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"public key {path} is no ed25519 key ({_kind(key)}). {_MAKE}")
    return raw(key)


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _create(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not be there yet, not even as a link."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise UserError(f"{path} exists and is left alone. Choose another name for the key.") from None
    except OSError as error:
        raise _not_made(path, error) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise _not_made(path, error) from None


def _not_made(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {path}: {error.strerror or error}. Choose another place for the key.")


def _read(path: Path, what: str, links: bool) -> bytes:
    """Read a small plain file; pipes and devices are not opened."""
    try:
        about = path.stat() if links else path.lstat()
        if stat.S_ISLNK(about.st_mode):
            raise UserError(f"{what} {path} is a symbolic link. Name the file that it points to.")
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"{what} {path} is no plain file. {_MAKE}")
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise UserError(f"no {what} at {path}. {_MAKE}") from None
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror or error}.") from None
    if len(data) > LARGEST:
        raise UserError(f"{what} {path} has {about.st_size} bytes; an ed25519 key in PEM has about 120. {_MAKE}")
    return data


def _mistake(data: bytes, otherwise: str) -> str:
    return next((name for mark, name in _KNOWN_MISTAKES.items() if b"-----BEGIN " + mark in data), otherwise)


def _kind(key: object) -> str:
    return type(key).__name__.removeprefix("_").removesuffix("Key").removesuffix("Private").removesuffix("Public")
