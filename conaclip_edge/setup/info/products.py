"""What the commands write: bundles, indexes, reports, interrupted runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conaclip_edge.benchmarks.report.answer_text import answer_lines
from conaclip_edge.benchmarks.report.markdown import recall_line
from conaclip_edge.benchmarks.schema.report import SCHEMA as REPORT_SCHEMA
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, parse_report
from conaclip_edge.bundle.card.accelerators import accelerator_line, covered_files
from conaclip_edge.bundle.gate_words import measured_text
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.bundle.members import SIGNATURE
from conaclip_edge.errors import UserError
from conaclip_edge.search.sqlite_store import open_sidecar
from conaclip_edge.setup.info.description import Description, Fact, megabytes, quoted
from conaclip_edge.system.files import read_json

_SCHEMAS = "conaclip-edge/"  # how the schema of everything that is written here begins


def describe_bundle(folder: Path) -> Description:
    """Describe a bundle by its manifest; the files are not looked at.

    Raises:
        UserError: no manifest, or a damaged one.
    """
    manifest = read_manifest(folder)
    adopted = manifest.training.get("adopted", {}).get("family")
    files = [
        f"{file.path}: {megabytes(file.size)}, cosine {file.gate.cosine.mean:.4f} to the float student"
        for file in manifest.files
    ]
    facts: dict[str, Fact] = {
        "name": manifest.name,
        "made of": f"a {adopted} as it is, without distilling" if adopted else None,
        "files": tuple(files),
        "nodes that accelerators take": tuple(
            f"{path}: {accelerator_line(found)}" for path, found in covered_files(manifest.files).items()
        ),
        "embedding": manifest.embed_dim,
        "picture": f"{manifest.image_size} pixels",
        "context": manifest.context,
        "vocabulary": manifest.vocab_size,
        "licence of the data": manifest.licence,
        "signed": (folder / SIGNATURE).is_file(),
        "gate": measured_text(manifest.files[0].gate) if manifest.files else None,
    }
    return Description(
        path=str(folder),
        kind="bundle",
        facts=facts,
        next_command=f"conaclip-edge verify {quoted(folder)}, then conaclip-edge index {quoted(folder)} PICTURES",
    )


def describe_index(folder: Path) -> Description:
    """Describe an index of pictures.

    Raises:
        UserError: a damaged index, or one of another schema.
    """
    sidecar = open_sidecar(folder)
    try:
        meta, broken = sidecar.meta(), sidecar.broken()
        facts: dict[str, Fact] = {
            "pictures": len(sidecar),
            "of": meta["pictures"] + ("" if Path(meta["pictures"]).is_dir() else " (which is not there)"),
            "broken": len(broken),
            "bundle": meta["bundle"] + ("" if Path(meta["bundle"]).is_dir() else " (which is not there)"),
            "target": meta["target"],
            "embedding": int(meta["dim"]),
            "vectors of the graph": meta["vectors"],
        }
    finally:
        sidecar.close()
    return Description(
        path=str(folder), kind="index", facts=facts, next_command=f'conaclip-edge search {quoted(folder)} "some words"'
    )


def describe_report(path: Path) -> Description:
    """Describe a report.json, or another JSON file that a command wrote.

    Raises:
        UserError: damaged, or nothing that conaclip-edge writes.
    """
    values = read_json(path, "report")
    schema = values.get("schema") if isinstance(values, dict) else None
    if not (isinstance(schema, str) and schema.startswith(_SCHEMAS)):
        raise UserError(f"{path} is a JSON file that conaclip-edge did not write: it has no schema {_SCHEMAS}...")
    if schema != REPORT_SCHEMA:
        facts: dict[str, Fact] = {"schema": schema, "created": str(values.get("created", ""))}
        page = path.with_suffix(".html")
        after = f"open {page}" if page.is_file() else "conaclip-edge --help"
        return Description(path=str(path), kind="report", facts=facts, next_command=after)
    report = parse_report(values, str(path))
    return Description(
        path=str(path),
        kind="report",
        facts=_report_facts(report),
        next_command=f"open {path.with_name('report.html')}, or conaclip-edge report {quoted(path)} --check OLD.json",
    )


def _report_facts(report: BenchmarkReport) -> dict[str, Fact]:
    rows = []
    for row in report.rows:
        times = [f"{one.tower} {one.typical:.2f} ms" for one in row.latency_ms.values() if one]
        rows.append(f"{report.name(row)}: {', '.join(times) or 'not timed'}")
    return {
        "model": report.model.name,
        "created": report.created,
        "machine": report.environment.label,
        "data": f"{report.dataset.name}, {report.dataset.pictures} pictures" if report.dataset else "none",
        "what to ship": tuple(answer_lines(report)),
        "recall": recall_line(report),
        "rows": tuple(rows),
    }


def describe_run(folder: Path) -> Description:
    """Describe what an interrupted distillation has left.

    Raises:
        UserError: its recipe is damaged.
    """
    recipe = read_json(folder / "recipe.json", "recipe of the interrupted run")
    train = recipe.get("train", {}) if isinstance(recipe, dict) else {}
    steps, qat = train.get("steps"), train.get("qat")
    if qat and steps is not None:
        steps += qat["steps"]
    out = folder.with_name(folder.name.removesuffix(".run"))
    resumable = (folder / "state.safetensors").is_file()
    facts: dict[str, Fact] = {
        "name": str(recipe.get("name", "")) if isinstance(recipe, dict) else "",
        "steps done": _last_step(folder / "training.jsonl"),
        "of": steps,
        "can be resumed": resumable,
    }
    return Description(
        path=str(folder),
        kind="interrupted run",
        facts=facts,
        next_command=f"conaclip-edge distill RECIPE --out {quoted(out)}" + (" --resume" if resumable else ""),
    )


def _last_step(log: Path) -> int:
    """Return how many steps a training log has seen."""
    done = 0
    for line in log.read_text("utf-8").splitlines() if log.is_file() else ():
        try:
            entry: Any = json.loads(line)
            done = max(done, int(entry["step"]) + 1)
        except (ValueError, KeyError, TypeError):  # the line that was being written
            continue
    return done
