"""Verify: is a bundle whole, unchanged, and does every file that this host can run still give the golden embeddings?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from conaclip_edge.bundle.embeddings import NORM_ERROR, cosines, embed_ids, embed_pixels, host, norm_error, padded
from conaclip_edge.bundle.golden import FOLDER, PIXEL_LEVELS, Golden, read_golden
from conaclip_edge.bundle.manifest import ExportedFile, Manifest, manifest_bytes, parse_manifest, unlisted_files
from conaclip_edge.bundle.members import MANIFEST, Problem, member_problems
from conaclip_edge.bundle.signing import SignatureStatus, check_signature
from conaclip_edge.data.preprocess import BadPicture, decode, describe, read_preprocess, to_pixels
from conaclip_edge.errors import ConaclipError, GateFailed, NotInstalled, UserError
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.runtime.open_tower import open_tower, runtime_of
from conaclip_edge.runtime.tower import Executed
from conaclip_edge.system.files import read_json
from conaclip_edge.system.processes import apart
from conaclip_edge.system.result import Result

# How far the mean golden cosine may be below that of the export: other kernels round differently, and no more.
DRIFT = {"fp32": 1e-5, "fp16": 1e-4, "int8": 2e-3}
GoldenInputs = np.ndarray | tuple[np.ndarray, ...]  # pixels uint8 [n, 3, H, W], or rows of int32 ids
Ran = Executed | Literal["emulated"]
_DIED = "TARGET's runtime died ({}) on NAME: the file is damaged or made to do this"


class VerifiedFile(Result):
    """One exported file of a bundle that is verified.

    Attributes:
        path: relative to the bundle.
        executed: "native", "executor", "reference" or "emulated", or "not run".
        reason: why it was not run.
        cosine_min: least cosine to the golden embeddings; None if it was not run.
        cosine_mean: mean cosine to them.
    """

    path: str
    executed: Ran | Literal["not run"]
    reason: str = ""
    cosine_min: float | None = None
    cosine_mean: float | None = None


class VerifyReport(Result):
    """What `verify_bundle` found.

    Attributes:
        bundle: its folder.
        host: machine and instruction sets that the files were run on, or the device.
        ok: whether there is no problem.
        embedding_space: of the bundle; None where its manifest cannot be read.
        members: number of files that the manifest lists; None where it cannot be read.
        signature: what it is worth.
        files: every exported file.
        problems: everything that is wrong.
    """

    bundle: Path
    host: str
    ok: bool
    embedding_space: str | None
    members: int | None
    signature: SignatureStatus
    files: tuple[VerifiedFile, ...]
    problems: tuple[Problem, ...]


def embed_golden(path: Path, inputs: GoldenInputs, pad_id: int) -> tuple[Ran, np.ndarray]:
    """Run an exported file over golden inputs on this machine; returns what ran it and the embeddings.

    Raises:
        UserError: its runtime refuses it or its inputs, or dies of it.
    """
    if runtime_of(path).may_crash:  # a file that fits its hash can still be made to end the process
        died = _DIED.replace("TARGET", runtime_of(path).target).replace("NAME", path.name)
        return apart(died, _embed, path, inputs, pad_id)
    return _embed(path, inputs, pad_id)


def verify_bundle(
    bundle: Path,
    trusted: Sequence[Path] = (),
    embed: Callable[[Path, GoldenInputs, int], tuple[Ran, np.ndarray]] = embed_golden,
    machine: str | None = None,
) -> VerifyReport:
    """Check a bundle: manifest, members, golden ids and pixels, golden embeddings of every file that can run here.

    Files are run only if every member is what the manifest says.

    Args:
        bundle: the folder.
        trusted: files of public keys; where there are any, the bundle has to be signed by one of them.
        embed: runs a file over golden inputs, whose texts are padded with the id that it is given.
        machine: where that is, if it is not this machine.

    Raises:
        UserError: there is no bundle, or a trusted key cannot be read.
    """
    if not (bundle / MANIFEST).exists():
        raise UserError(f"no bundle at {bundle}: it has no {MANIFEST}. Make one: conaclip-edge export")
    report = partial(_report, bundle, machine or host())
    data = b""  # which no signature fits
    try:
        data = manifest_bytes(bundle)
        manifest = parse_manifest(data, str(bundle / MANIFEST))
    except UserError as error:
        signature, problems = check_signature(bundle, data, trusted)
        return report(None, signature, (), [*problems, Problem("manifest", MANIFEST, str(error))])
    signature, problems = check_signature(bundle, data, trusted)
    if changed := member_problems(bundle, manifest.members) + unlisted_files(manifest):
        signature = signature.of_changed_bundle()
    if problems := problems + changed:
        files = [_not_run(file, "the bundle is not what it has to be") for file in manifest.files]
        return report(manifest, signature, files, problems)
    try:
        golden = read_golden(bundle / FOLDER)
        problems = _input_problems(bundle, manifest, golden)
    except UserError as error:
        return report(manifest, signature, (), [Problem("golden", FOLDER, str(error))])
    files = []
    for file in manifest.files:
        verified, found = _run(bundle, file, manifest, golden, embed)
        files.append(verified)
        problems += found
    return report(manifest, signature, files, problems)


def require_ok(report: VerifyReport) -> None:
    """Raise GateFailed, naming every member at fault, if a report of `verify_bundle` holds a problem."""
    if not report.ok:
        raise GateFailed(f"{report.bundle} is not as it has to be: {'; '.join(map(str, report.problems))}.")


def verify_table(report: VerifyReport) -> str:
    """Format a report for a terminal."""
    lines = [f"{report.bundle}: {report.members or 0} members, on {report.host}; {report.signature.text()}"]
    for file in report.files:
        measured = file.reason if file.cosine_min is None else f"golden cosine {file.cosine_min:.5f} at least"
        lines.append(f"  {file.path:40} {file.executed:10} {measured}")
    lines += [f"  {problem.kind}: {problem}" for problem in report.problems]
    lines.append(_verdict(report))
    return "\n".join(lines)


def _verdict(report: VerifyReport) -> str:
    if not report.ok:
        return f"{len(report.problems)} problems"
    missing = sum(file.executed == "not run" for file in report.files)
    return f"ok, but {missing} of {len(report.files)} files were not run here" if missing else "ok"


def _report(
    bundle: Path,
    machine: str,
    manifest: Manifest | None,
    signature: SignatureStatus,
    files: Sequence[VerifiedFile],
    problems: Sequence[Problem],
) -> VerifyReport:
    return VerifyReport(
        bundle=bundle,
        host=machine,
        ok=not problems,
        embedding_space=manifest.embedding_space if manifest else None,
        members=len(manifest.members) if manifest else None,
        signature=signature,
        files=tuple(files),
        problems=tuple(problems),
    )


def _input_problems(bundle: Path, manifest: Manifest, golden: Golden) -> list[Problem]:
    """Compare what this host makes of the golden texts and pictures with what the export made of them."""
    problems = []
    preprocess = read_preprocess(bundle / "preprocess.json", manifest.image_size)
    if read_json(bundle / "preprocess.json", "preprocessing") != describe(preprocess):
        problems.append(
            Problem("preprocess", "preprocess.json", "does not describe what this version does to pictures")
        )
    tokenizer = TextTokenizer(bundle / "tokenizer.json", manifest.context)
    for text, ids in zip(golden.texts, golden.ids, strict=True):
        found = tokenizer.ids(text)
        if found != ids.tolist():
            problems.append(
                Problem("ids", "tokenizer.json", f"{text[:40]!r} gives ids {found[:8]}, not {ids[:8].tolist()}")
            )
    for name, data, pixels in zip(golden.names, golden.pictures, golden.pixels, strict=True):
        member = f"{FOLDER}/pictures/{name}"
        try:
            made = to_pixels(decode(data), preprocess).astype(np.float32)
        except BadPicture as error:
            problems.append(Problem("pixels", member, str(error)))
            continue
        off = float(np.abs(made - pixels.astype(np.float32)).max()) if made.shape == pixels.shape else np.inf
        if off > PIXEL_LEVELS:
            problems.append(
                Problem("pixels", member, f"pixels differ by {off:g} of 255 levels; {PIXEL_LEVELS} is allowed")
            )
    return problems


def _run(
    bundle: Path,
    file: ExportedFile,
    manifest: Manifest,
    golden: Golden,
    embed: Callable[[Path, GoldenInputs, int], tuple[Ran, np.ndarray]],
) -> tuple[VerifiedFile, list[Problem]]:
    """Run one exported file over the golden inputs."""
    path, inputs = bundle / file.path, golden.pixels if file.tower == "image" else golden.ids
    if file.tower == "text" and file.form == "accelerator":  # takes nothing but the context, on any machine
        inputs = tuple(padded(ids, (max(len(ids), manifest.context),), manifest.pad_id) for ids in golden.ids)
    try:
        executed, found = embed(path, inputs, manifest.pad_id)
    except NotInstalled as error:
        return _not_run(file, str(error)), []
    except ConaclipError as error:
        return _not_run(file, str(error)), [Problem("unreadable", file.path, str(error))]
    expected = golden.embeddings(file.tower)
    if found.shape != expected.shape:
        reason = f"gives embeddings of shape {found.shape}, not {expected.shape}"
        return _not_run(file, reason), [Problem("embedding", file.path, reason)]
    values, least = cosines(found, expected), golden.least_cosine(file.tower, file.precision)
    verified = VerifiedFile(
        path=file.path, executed=executed, cosine_min=float(values.min()), cosine_mean=float(values.mean())
    )
    problems = []
    if values.min() < least:
        worst = int(values.argmin())
        given = golden.names[worst] if file.tower == "image" else repr(golden.texts[worst][:40])
        problems.append(
            Problem("embedding", file.path, f"cosine {values.min():.5f} on golden {given} is below {least}")
        )
    before = file.gate.golden.mean
    if values.mean() < before - DRIFT[file.precision]:
        detail = f"mean golden cosine {values.mean():.5f} was {before:.5f} when it was exported"
        problems.append(Problem("drift", file.path, detail))
    if norm_error(found) > NORM_ERROR:
        problems.append(Problem("norm", file.path, f"a length is off by {norm_error(found):.3g}: not normalised"))
    return verified, problems


def _embed(path: Path, inputs: GoldenInputs, pad_id: int) -> tuple[Executed, np.ndarray]:
    tower = open_tower(path)
    if isinstance(inputs, np.ndarray):
        return tower.executed, embed_pixels(tower, inputs, path.name)
    return tower.executed, embed_ids(tower, inputs, pad_id, path.name)


def _not_run(file: ExportedFile, reason: str) -> VerifiedFile:
    return VerifiedFile(path=file.path, executed="not run", reason=reason)
