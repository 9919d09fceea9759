"""Bundles that are signed, not signed, changed, or signed by somebody else are told apart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.bundle.members import SIGNATURE
from conaclip_edge.bundle.signing import check_signature
from conaclip_edge.bundle.verify import verify_bundle
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.export_bundle import export_bundle
from tests.helpers.command_line import command

PEM = serialization.Encoding.PEM


@pytest.fixture
def cli(exported, stand_in, tmp_path, monkeypatch, capfd):
    """A function that runs the command line in a folder with `bundle`, a bundle that is as it was exported."""
    folder, made = exported
    stand_in.kept = dict(made.kept)
    shutil.copytree(folder, tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: command(monkeypatch, capfd, *arguments)


@pytest.fixture
def signed(cli):
    """The same, with a key and a bundle that is signed with it."""
    assert cli("keygen", "key")[0] == 0
    assert cli("sign", "bundle", "--key", "key")[0] == 0
    return cli


def test_a_signed_bundle_is_trusted_by_who_has_the_key(signed):
    code, out, _ = signed("verify", "bundle", "--trusted", "key.pub", "--json")
    report = json.loads(out)
    assert (code, report["ok"], report["signature"]["status"]) == (0, True, "trusted")
    assert (
        f"signed with the trusted key {report['signature']['fingerprint']}"
        in signed("verify", "bundle", "--trusted", "key.pub")[1]
    )
    assert all(file["executed"] != "not run" for file in report["files"])


def test_without_a_trusted_key_a_signature_is_shown_and_proves_nothing(signed):
    code, out, _ = signed("verify", "bundle")
    assert code == 0
    assert "whose that is, --trusted KEY would check" in out


def test_an_unsigned_bundle_is_fine_until_a_key_is_asked_for(cli):
    cli("keygen", "key")
    code, out, _ = cli("verify", "bundle")
    assert code == 0
    assert "; not signed\n" in out
    code, _, err = cli("verify", "bundle", "--trusted", "key.pub")
    assert code == 1
    assert "manifest.json.sig: is not there: nobody vouches for this bundle" in err


def test_another_key_is_not_trusted_and_nothing_is_run(signed):
    signed("keygen", "other")
    code, out, err = signed("verify", "bundle", "--trusted", "other.pub", "--json")
    report = json.loads(out)
    assert code == 1
    assert report["signature"]["status"] == report["problems"][0]["kind"] == "untrusted"
    assert f"was made with key {report['signature']['fingerprint']}, which is not trusted" in err
    assert {file["executed"] for file in report["files"]} == {"not run"}
    assert signed("verify", "bundle", "--trusted", "other.pub", "--trusted", "key.pub")[0] == 0


@pytest.mark.parametrize("more", [(), ("--trusted", "key.pub")])
@pytest.mark.parametrize("part", ["signature", "key", "whole"])
def test_a_changed_signature_is_always_a_problem(signed, part, more):
    file = Path("bundle", SIGNATURE)
    if part == "whole":
        file.write_bytes(b"\xff")
    else:
        values = json.loads(file.read_text("utf-8"))
        name = {"signature": "signature", "key": "public_key"}[part]
        values[name] = ("B" if values[name][0] != "B" else "C") + values[name][1:]
        file.write_text(json.dumps(values), "utf-8")
    code, out, err = signed("verify", "bundle", *more, "--json")
    assert (code, json.loads(out)["problems"][0]["kind"]) == (1, "signature")
    assert "manifest.json.sig: " in err


def test_a_bundle_that_was_changed_and_resealed_does_not_fit_its_signature(signed):
    from tests.bundle.test_verify import resealed

    Path("bundle/README.md").write_text("buy this", "utf-8")
    resealed(Path("bundle"))
    code, _, err = signed("verify", "bundle", "--trusted", "key.pub")
    assert code == 1
    assert "does not fit the manifest: the bundle was changed after it was signed" in err


@pytest.mark.parametrize("more", [(), ("--trusted", "key.pub")])
def test_a_changed_member_is_no_trusted_bundle_although_the_signature_fits(signed, more):
    Path("bundle/README.md").write_text("buy this", "utf-8")
    code, out, _ = signed("verify", "bundle", *more, "--json")
    report = json.loads(out)
    assert (code, report["signature"]["status"]) == (1, "altered")
    assert [problem["kind"] for problem in report["problems"]] == ["altered"]
    assert "; changed after it was signed" in signed("verify", "bundle", *more)[1]


@pytest.mark.parametrize("place", range(0, 100, 9))
def test_a_flipped_bit_in_the_manifest_is_found_with_its_signature(signed, place):
    path = Path("bundle/manifest.json")
    whole = bytearray(path.read_bytes())
    whole[len(whole) * place // 100] ^= 1
    path.write_bytes(whole)
    report = verify_bundle(Path("bundle"), trusted=[Path("key.pub")])
    assert report.signature.status == "altered"
    assert [problem.kind for problem in report.problems] == ["signature", "manifest"]


def test_line_ends_of_another_system_in_the_manifest_are_a_change(signed):
    path = Path("bundle/manifest.json")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert [problem.kind for problem in verify_bundle(Path("bundle")).problems] == ["signature", "manifest"]
    Path("bundle", SIGNATURE).unlink()
    assert [problem.kind for problem in verify_bundle(Path("bundle")).problems] == ["manifest"]


@pytest.mark.parametrize("bit", [1, 4, 32])
def test_any_flipped_bit_of_the_signature_is_found(signed, bit):
    path, manifest = Path("bundle", SIGNATURE), Path("bundle/manifest.json").read_bytes()
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        found, problems = check_signature(Path("bundle"), manifest, [Path("key.pub")])
        assert (found.status, len(problems)) == ("altered", 1), place


def test_the_signature_of_another_bundle_does_not_fit(signed, bars):
    export_bundle(bars / "student", [ExportConfig(target="executorch", precision="fp32")], Path("second"))
    assert signed("sign", "second", "--key", "key")[0] == 0
    shutil.copyfile(Path("second", SIGNATURE), Path("bundle", SIGNATURE))
    code, out, _ = signed("verify", "bundle", "--trusted", "key.pub", "--json")
    assert (code, json.loads(out)["signature"]["status"]) == (1, "altered")
    assert signed("verify", "second", "--trusted", "key.pub")[0] == 0


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large", "deep"])
def test_a_signature_that_is_no_small_plain_file_is_not_read(signed, kind):
    path = Path("bundle", SIGNATURE)
    path.rename("aside")
    if kind == "link":
        path.symlink_to(Path("aside").resolve())
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"[" * (9_000 if kind == "deep" else 20_000))
    code, out, _ = signed("verify", "bundle", "--json")
    assert (code, json.loads(out)["signature"]["status"]) == (1, "altered")


def test_a_changed_bundle_is_not_signed(signed):
    Path("bundle/README.md").write_text("buy this", "utf-8")
    code, _, err = signed("sign", "bundle", "--key", "key")
    assert code == 1
    assert "is not as it was exported and is not signed: README.md: has " in err


def test_an_exported_file_that_is_no_member_is_not_signed(cli):
    from tests.bundle.test_verify import resealed

    cli("keygen", "key")
    files = read_manifest(Path("bundle")).files
    outside = files[0].model_copy(update={"path": "../onnx/image.fp16.onnx"})
    resealed(Path("bundle"), files=(outside, *files[1:]))
    code, _, err = cli("sign", "bundle", "--key", "key")
    assert code == 1
    assert "is not signed: ../onnx/image.fp16.onnx: is an exported file" in err
    assert not Path("bundle", SIGNATURE).exists()


@pytest.mark.parametrize("replace", [False, True])
def test_an_export_into_a_signed_bundle_drops_the_signature_and_says_so(signed, bars, capfd, replace):
    target = ExportConfig(target="executorch", precision="fp32")
    export_bundle(bars / "student", [target], Path("bundle"), replace=replace)
    assert "bundle is new and no longer signed. Sign it again" in capfd.readouterr().err
    assert not Path("bundle", SIGNATURE).exists()
    assert signed("verify", "bundle")[0] == 0


def test_the_private_key_is_its_owner_s_and_never_in_a_bundle(signed):
    assert Path("key").stat().st_mode & 0o777 == 0o600
    secret = Path("key").read_bytes()
    assert all(secret not in path.read_bytes() for path in Path("bundle").rglob("*") if path.is_file())
    shutil.move("key", "bundle/key")
    assert (
        "lies in the bundle, which is passed on. Keep it somewhere else."
        in signed("sign", "bundle", "--key", "bundle/key")[2]
    )
    os.symlink(Path("bundle/key").resolve(), "link")
    assert "lies in the bundle" in signed("sign", "bundle", "--key", "link")[2]
    os.symlink(Path("bundle").resolve(), "same")
    assert "lies in the bundle" in signed("sign", "same", "--key", "bundle/key")[2]


def test_a_copy_of_the_key_in_the_bundle_is_refused_even_if_the_manifest_lists_it(signed):
    from tests.bundle.test_verify import resealed

    before = Path("bundle", SIGNATURE).read_bytes()
    shutil.copyfile("key", "bundle/notes.txt")
    resealed(Path("bundle"))
    code, _, err = signed("sign", "bundle", "--key", "key")
    assert code == 2
    assert "notes.txt is a copy of the key" in err
    assert Path("bundle", SIGNATURE).read_bytes() == before


def test_a_linked_key_is_named_as_one(signed):
    os.symlink("key", "link")
    os.symlink("circle", "circle")
    for name in ("link", "circle"):
        code, _, err = signed("sign", "bundle", "--key", name)
        assert (code, err.count("\n")) == (2, 1)
        assert f"key {name} is a symbolic link. Give the file that it points to." in err


def test_a_key_file_that_is_trusted_holds_one_public_key(signed):
    Path("two.pub").write_bytes(Path("key.pub").read_bytes() * 2)
    assert "two.pub holds several keys" in signed("verify", "bundle", "--trusted", "two.pub")[2]
    assert "key is a private key, which nobody else should have" in signed("verify", "bundle", "--trusted", "key")[2]


def test_no_key_is_overwritten(signed):
    before = Path("key").read_bytes()
    code, _, err = signed("keygen", "key")
    assert code == 2
    assert "key exists and is left alone. Choose another name" in err
    assert Path("key").read_bytes() == before


def _private(format_: serialization.PrivateFormat, encryption: serialization.KeySerializationEncryption) -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(PEM, format_, encryption)


BAD_KEYS = {
    "garbage": (b"\x00\xff" * 50, "is no private ed25519 key in PEM"),
    "empty": (b"", "is no private ed25519 key in PEM"),
    "huge": (b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 50_000_000, "is no private ed25519 key in PEM"),
    "encrypted": (
        _private(serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")),
        "is encrypted, which is not supported",
    ),
    "rsa": (
        rsa.generate_private_key(65537, 2048).private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        "is no private ed25519 key in PEM",
    ),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_file_that_is_no_key_is_named(cli, name):
    data, message = BAD_KEYS[name]
    Path("key").write_bytes(data)
    Path("key").chmod(0o600)
    code, _, err = cli("sign", "bundle", "--key", "key")
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    code, _, err = cli("verify", "bundle", "--trusted", "key")
    assert code == 2
    assert "is no public ed25519 key in PEM" in err or "is a private key" in err


def test_a_key_that_others_can_read_or_that_is_not_there_is_named(signed):
    Path("key").chmod(0o640)
    assert "can be read by others. Make it yours alone: chmod 600 key" in signed("sign", "bundle", "--key", "key")[2]
    assert "no key at none. Make one: conaclip-edge keygen none" in signed("sign", "bundle", "--key", "none")[2]
    assert "no key at none. Ask the one who signed" in signed("verify", "bundle", "--trusted", "none")[2]


def test_the_signature_is_what_openssl_says_it_is(signed, tmp_path):
    """Another implementation checks the same bytes: `openssl` where the key is plain PEM and the text is known."""
    import base64

    values = json.loads(Path("bundle", SIGNATURE).read_text("utf-8"))
    Path("sig").write_bytes(base64.b64decode(values["signature"]))
    text = b"conaclip-edge bundle manifest, signature 1\n" + Path("bundle/manifest.json").read_bytes()
    Path("text").write_bytes(text)
    check = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pub", "-rawin", "-in", "text", "-sigfile", "sig"]
    assert subprocess.run(check, capture_output=True).returncode == 0
    Path("text").write_bytes(text + b" ")
    assert subprocess.run(check, capture_output=True).returncode == 1
