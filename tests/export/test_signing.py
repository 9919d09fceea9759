"""A signature covers a whole bundle, says by which key, and ends with any change; a private key never ships."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run, command
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from conaclip_edge.config import ExportConfig
from conaclip_edge.export import keys
from conaclip_edge.export.manifest import digest_of, manifest_bytes, manifest_text, read_manifest
from conaclip_edge.export.members import hashed
from conaclip_edge.export.run import export_bundle
from conaclip_edge.export.signing import check_signature, signature_text
from conaclip_edge.export.verify import verify_bundle

PEM, PKCS8, PLAIN = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
SIGNATURE = "manifest.json.sig"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """A function that runs the command line in the test's own folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: command(monkeypatch, capfd, *arguments)


@pytest.fixture
def bundle(exported, stand_in, cli) -> Path:
    """A copy of a bundle that is as it was exported, in the test's own folder, and a key pair."""
    folder, made = exported
    stand_in.kept = dict(made.kept)
    shutil.copytree(folder, "bundle")
    assert cli("keygen", "mine")[0] == 0
    return Path("bundle")


@pytest.fixture
def signed(bundle, cli) -> Path:
    """The same, signed."""
    code, _, err = cli("sign", bundle, "--key", "mine")
    assert code == 0, err
    return bundle


def told(outcome: tuple[int, str, str]) -> str:
    """The one line in which a command refused its input."""
    code, out, err = outcome
    assert (code, out) == (2, ""), err
    assert err.startswith("conaclip-edge: ")
    assert err.count("\n") == 1
    assert "internal error" not in err
    return err.removeprefix("conaclip-edge: ").rstrip("\n")


def state(cli: Run, bundle: Path, *trusted: str) -> tuple[str, int]:
    """State of the signature and exit code; text and JSON have to agree."""
    options = [part for key in trusted for part in ("--trusted", key)]
    code, out, _ = cli("verify", bundle, *options, "--json")
    report = json.loads(out)
    assert report["ok"] == (code == 0)
    again, text, err = cli("verify", bundle, *options)
    assert again == code
    assert f"signature {report['signature']['state']}: " in text
    if code:
        kinds = {problem["kind"] for problem in report["problems"]}
        assert kinds
        assert f"signature-{report['signature']['state']}" in kinds
        assert SIGNATURE in err
        assert all(file["executed"] == "not run" for file in report["files"])
    return report["signature"]["state"], code


def flip(path: Path, place: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1
    path.write_bytes(whole)


def test_unsigned_other_key_altered_and_trusted_are_told_apart(bundle, cli):
    cli("keygen", "other")
    assert state(cli, bundle) == ("unsigned", 0)
    assert state(cli, bundle, "mine.pub") == ("unsigned", 1)
    assert cli("sign", bundle, "--key", "mine")[0] == 0
    assert state(cli, bundle) == ("signed", 0)
    assert state(cli, bundle, "mine.pub") == ("trusted", 0)
    assert state(cli, bundle, "other.pub") == ("other-key", 1)
    assert state(cli, bundle, "other.pub", "mine.pub") == ("trusted", 0)
    flip(bundle / "tokenizer.json", 5)
    assert state(cli, bundle) == ("altered", 1)
    assert state(cli, bundle, "mine.pub") == ("altered", 1)
    assert state(cli, bundle, "other.pub") == ("other-key", 1)


def test_without_a_trusted_key_verify_says_which_key_and_that_it_does_not_know_whose(signed, cli):
    name = keys.fingerprint(keys.read_public_key(Path("mine.pub")))
    code, out, _ = cli("verify", signed)
    assert code == 0
    assert f"signed by key {name}. Whose key that is, it does not say: pass --trusted" in out


def test_keygen_and_sign_name_the_same_key_in_json(bundle, cli):
    made = json.loads(cli("keygen", "new", "--json")[1])
    signed = json.loads(cli("sign", bundle, "--key", "new", "--json")[1])
    assert made == {"private": "new", "public": "new.pub", "key": signed["key"]}
    assert signed["signature"] == f"bundle/{SIGNATURE}"
    assert signed["members"] == len(read_manifest(bundle).members)


def test_any_flipped_byte_of_the_signature_is_found(signed):
    path = signed / SIGNATURE
    whole, manifest = path.read_bytes(), manifest_bytes(signed)
    trusted = [keys.read_public_key(Path("mine.pub"))]
    for place in range(len(whole)):
        flip(path, place)
        assert check_signature(signed, manifest, trusted).state == "altered", place
        path.write_bytes(whole)
    assert check_signature(signed, manifest, trusted).state == "trusted"


@pytest.mark.parametrize("place", range(0, 100, 9))
def test_a_flipped_byte_of_the_manifest_is_found(signed, place):
    size = (signed / "manifest.json").stat().st_size
    flip(signed / "manifest.json", size * place // 100)
    report = verify_bundle(signed, trusted=[Path("mine.pub")])
    assert report["signature"]["state"] == "altered"
    assert [problem["kind"] for problem in report["problems"]] == ["manifest", "signature-altered"]


def test_line_ends_of_another_system_in_the_manifest_are_a_change(signed):
    path = signed / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    kinds = [problem["kind"] for problem in verify_bundle(signed)["problems"]]
    assert kinds == ["manifest", "signature-altered"]


def test_a_flipped_byte_of_any_member_is_found(signed):
    for name in read_manifest(signed).members:
        flip(signed / name, 0)
        report = verify_bundle(signed, trusted=[Path("mine.pub")])
        assert report["signature"]["state"] == "altered"
        assert [(one["kind"], one["member"]) for one in report["problems"]] == [
            ("altered", name),
            ("signature-altered", SIGNATURE),
        ]
        flip(signed / name, 0)


def test_a_member_changed_together_with_the_manifest_is_found(signed, cli):
    (signed / "README.md").write_text("Trust me.", "utf-8")
    manifest = read_manifest(signed).model_copy(update={"members": hashed(signed)})
    manifest = manifest.model_copy(update={"digest": digest_of(manifest)})
    (signed / "manifest.json").write_text(manifest_text(manifest), "utf-8")
    assert state(cli, signed) == ("altered", 1)
    assert state(cli, signed, "mine.pub") == ("altered", 1)


def test_the_signature_of_another_bundle_does_not_fit(bundle, cli, bars, stand_in):
    export_bundle(bars / "student", [ExportConfig(target="onnx", precision="fp32")], Path("second"))
    for folder in (bundle, "second"):
        assert cli("sign", folder, "--key", "mine")[0] == 0
    shutil.copyfile(f"second/{SIGNATURE}", bundle / SIGNATURE)
    assert state(cli, bundle, "mine.pub") == ("altered", 1)
    assert state(cli, Path("second"), "mine.pub") == ("trusted", 0)


def test_a_signature_of_the_bare_manifest_is_none_of_the_bundle(bundle, cli):
    """The key may sign other things: what it signed without the prefix must not count."""
    key, _ = keys.read_private_key(Path("mine"))
    text = signature_text(keys.raw(key.public_key()), key.sign((bundle / "manifest.json").read_bytes()))
    (bundle / SIGNATURE).write_text(text, "utf-8")
    assert state(cli, bundle, "mine.pub") == ("altered", 1)


@pytest.mark.parametrize("replace", [False, True])
def test_another_export_drops_the_signature_and_says_so(signed, cli, bars, stand_in, capfd, replace):
    config = ExportConfig(target="onnx", precision="fp32")
    export_bundle(bars / "student", [config], signed, replace=replace)
    assert "is no longer signed: its content is new." in capfd.readouterr().err
    assert not (signed / SIGNATURE).exists()
    assert state(cli, signed, "mine.pub") == ("unsigned", 1)
    assert cli("sign", signed, "--key", "mine")[0] == 0
    assert state(cli, signed, "mine.pub") == ("trusted", 0)


def test_signing_changes_no_other_file_and_signing_again_replaces_the_signature(signed, cli):
    before = {path: path.read_bytes() for path in signed.rglob("*") if path.is_file()}
    cli("keygen", "other")
    assert cli("sign", signed, "--key", "other")[0] == 0
    after = {path: path.read_bytes() for path in signed.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} == {signed / SIGNATURE}
    assert after.keys() == before.keys()
    assert state(cli, signed, "other.pub") == ("trusted", 0)


def test_the_signature_holds_nothing_but_public_values(signed):
    content = json.loads((signed / SIGNATURE).read_text("utf-8"))
    assert set(content) == {"schema", "algorithm", "public_key", "signature"}
    assert (content["schema"], content["algorithm"]) == ("conaclip-edge/signature/1", "ed25519")
    key, _ = keys.read_private_key(Path("mine"))
    private = key.private_bytes_raw()
    for path in signed.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert private not in data
        assert base64.b64encode(private)[:40] not in data


def damaged(bundle: Path, change: str) -> None:
    if change == "altered":
        flip(bundle / "tokenizer.json", 0)
    elif change == "missing":
        (bundle / "README.md").unlink()
    elif change == "extra":
        (bundle / "note.txt").touch()
    elif change == "link":
        (bundle / "README.md").rename("README.md")
        (bundle / "README.md").symlink_to(Path("README.md").resolve())
    elif change == "linked manifest":
        (bundle / "manifest.json").rename("manifest.json")
        (bundle / "manifest.json").symlink_to(Path("manifest.json").resolve())
    elif change == "manifest":
        flip(bundle / "manifest.json", 400)
    else:
        (bundle / SIGNATURE).symlink_to("elsewhere")


DAMAGES = {
    "altered": "tokenizer.json: has sha256",
    "missing": "README.md: is listed in the manifest, but is not there",
    "extra": "note.txt: is not listed in the manifest",
    "link": "README.md: is a symbolic link",
    "linked manifest": "manifest.json is no plain file",
    "manifest": "manifest.json",
    "linked signature": f"{SIGNATURE}: is a symbolic link",
}


@pytest.mark.parametrize("change", DAMAGES)
def test_a_damaged_bundle_is_not_signed(bundle, cli, change):
    damaged(bundle, change)
    assert DAMAGES[change] in told(cli("sign", bundle, "--key", "mine"))
    assert not (bundle / SIGNATURE).exists()
    assert not Path("elsewhere").exists()


def test_a_key_inside_the_bundle_is_refused_however_its_path_is_written(bundle, cli):
    shutil.move("mine", bundle / "onnx" / "mine")
    Path("link").symlink_to(bundle.resolve())
    for path in ("bundle/onnx/mine", bundle.resolve() / "onnx/mine", "link/onnx/mine", "bundle/../bundle/onnx/mine"):
        assert "lies in bundle" in told(cli("sign", bundle, "--key", path))
    assert "lies in bundle" in told(cli("sign", "link", "--key", "bundle/onnx/mine"))
    assert not (bundle / SIGNATURE).exists()


def test_a_copy_of_the_key_in_the_bundle_is_refused_even_if_the_manifest_lists_it(bundle, cli):
    shutil.copyfile("mine", bundle / "notes.txt")
    assert "notes.txt: is not listed" in told(cli("sign", bundle, "--key", "mine"))
    manifest = read_manifest(bundle).model_copy(update={"members": hashed(bundle)})
    manifest = manifest.model_copy(update={"digest": digest_of(manifest)})
    (bundle / "manifest.json").write_text(manifest_text(manifest), "utf-8")
    assert "notes.txt is a copy of the private key" in told(cli("sign", bundle, "--key", "mine"))
    assert not (bundle / SIGNATURE).exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o601])
def test_a_key_that_others_may_read_is_refused(bundle, cli, mode):
    Path("mine").chmod(mode)
    line = told(cli("sign", bundle, "--key", "mine"))
    assert line == f"private key mine may be read by others (mode {mode:04o}). Close it: chmod 600 mine"


def test_a_linked_key_is_refused(bundle, cli):
    Path("link").symlink_to("mine")
    assert "link is a symbolic link" in told(cli("sign", bundle, "--key", "link"))
    Path("circle").symlink_to("circle")
    assert "circle is a symbolic link" in told(cli("sign", bundle, "--key", "circle"))


def test_keygen_writes_a_key_for_its_owner_alone_and_overwrites_nothing(cli):
    before = os.umask(0)
    try:
        assert cli("keygen", "new/key")[0] == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path("new/key").stat().st_mode) == 0o600
    content = Path("new/key").read_bytes(), Path("new/key.pub").read_bytes()
    assert told(cli("keygen", "new/key")) == "new/key exists and is left alone. Choose another name for the key."
    Path("new/key").unlink()
    assert told(cli("keygen", "new/key")).startswith("new/key.pub exists and is left alone.")
    assert Path("new/key.pub").read_bytes() == content[1]
    assert sorted(path.name for path in Path("new").iterdir()) == ["key.pub"]
    Path("new/link").symlink_to("nowhere")
    assert told(cli("keygen", "new/link")).startswith("new/link exists and is left alone.")
    assert told(cli("keygen", "new/key.pub/key")).startswith("cannot write new/key.pub/key: ")


def private_pem(key, encryption=PLAIN, form=PKCS8) -> bytes:
    return key.private_bytes(PEM, form, encryption)


def public_pem(key) -> bytes:
    return key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


MINE = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
LOCKED = serialization.BestAvailableEncryption(b"secret")

PRIVATE: dict[str, tuple[Callable[[], bytes], str]] = {
    "garbage": (lambda: bytes(range(256)), "is no private key in PEM"),
    "empty": (lambda: b"", "is no private key in PEM"),
    "terminal codes": (lambda: b"-----BEGIN \x1b[2J KEY-----\n", "is no private key in PEM"),
    "cut": (lambda: private_pem(MINE)[:70], "is no private key in PEM"),
    "its public half": (lambda: public_pem(MINE), "is no private key in PEM"),
    "RSA": (lambda: private_pem(RSA), "is no ed25519 key (RSA)"),
    "a curve": (lambda: private_pem(CURVE), "is no ed25519 key (EC)"),
    "encrypted": (lambda: private_pem(MINE, LOCKED), "is encrypted, and no passphrase is asked for"),
    "OpenSSH": (
        lambda: private_pem(MINE, form=serialization.PrivateFormat.OpenSSH),
        "is a key in OpenSSH's format",
    ),
}
PUBLIC: dict[str, tuple[Callable[[], bytes], str]] = {
    "garbage": (lambda: bytes(range(256)), "is no public key in PEM"),
    "empty": (lambda: b"", "is no public key in PEM"),
    "cut": (lambda: public_pem(MINE)[:70], "is no public key in PEM"),
    "its private half": (lambda: private_pem(MINE), "is a private key: give out and trust its public half"),
    "RSA": (lambda: public_pem(RSA), "is no ed25519 key (RSA)"),
    "a curve": (lambda: public_pem(CURVE), "is no ed25519 key (EC)"),
    "several": (lambda: public_pem(MINE) + public_pem(RSA), "holds several keys"),
    "certificate": (lambda: b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "is a certificate"),
}


@pytest.mark.parametrize("kind", PRIVATE)
def test_a_file_that_holds_no_signing_key_is_told_in_a_line(bundle, cli, kind):
    make, message = PRIVATE[kind]
    Path("bad").write_bytes(make())
    Path("bad").chmod(0o600)
    assert f"private key bad {message}" in told(cli("sign", bundle, "--key", "bad"))
    assert not (bundle / SIGNATURE).exists()


@pytest.mark.parametrize("kind", PUBLIC)
def test_a_file_that_holds_no_public_key_is_told_in_a_line(bundle, cli, kind):
    make, message = PUBLIC[kind]
    Path("bad.pub").write_bytes(make())
    assert f"public key bad.pub {message}" in told(cli("verify", bundle, "--trusted", "bad.pub"))


@pytest.mark.parametrize("arguments", [("sign", "bundle", "--key"), ("verify", "bundle", "--trusted")])
def test_what_is_no_small_plain_file_is_not_read_as_a_key(bundle, cli, arguments):
    with open("huge", "wb") as file:
        file.truncate(1024**3)
    Path("huge").chmod(0o600)
    os.mkfifo("pipe", 0o600)
    for path, message in {
        "huge": "huge has 1073741824 bytes; an ed25519 key in PEM has about 120.",
        "pipe": "pipe is no plain file.",
        "/dev/zero": "/dev/zero is no plain file.",
        "bundle": "bundle",
        "nowhere": "key at nowhere. Make one: conaclip-edge keygen KEY",
        "mine/below": "mine/below: Not a directory.",
    }.items():
        assert message in told(cli(*arguments, path))


def signature_of(**changes: object) -> bytes:
    content = {"schema": "conaclip-edge/signature/1", "algorithm": "ed25519"}
    content |= {"public_key": base64.b64encode(bytes(32)).decode(), "signature": base64.b64encode(bytes(64)).decode()}
    return (json.dumps(content | changes, indent=2) + "\n").encode()


FORGED = {
    "empty": b"",
    "garbage": bytes(range(256)),
    "deep": b"[" * 4000,
    "no object": b"[]\n",
    "large": b" " * 5000,
    "another schema": signature_of(schema="conaclip-edge/signature/2"),
    "another algorithm": signature_of(algorithm="none"),
    "a key of no bytes": signature_of(public_key=""),
    "a signature of no bytes": signature_of(signature=""),
    "a number": signature_of(signature=7),
    "no base64": signature_of(signature="ä" * 88),
    "one key more": signature_of(more=1),
    "zeros": signature_of(),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_signature_is_altered_never_unsigned_or_trusted(bundle, cli, kind):
    (bundle / SIGNATURE).write_bytes(FORGED[kind])
    assert state(cli, bundle) == ("altered", 1)
    assert state(cli, bundle, "mine.pub") == ("altered", 1)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_signature_that_is_no_plain_file_is_not_opened(signed, cli, kind):
    path = signed / SIGNATURE
    path.rename("aside")
    if kind == "link":
        path.symlink_to(Path("aside").resolve())
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert state(cli, signed, "mine.pub") == ("altered", 1)
