"""The whole job on the embedded default: teacher, students at equal budget, bundle, benchmark, report, index."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from conaclip_edge.benchmarks.commands import benchmark, benchmark_text
from conaclip_edge.benchmarks.report_folder import default_report
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, read_report
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.bundle.write import embedding_space
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.load import distill_recipe, teacher_recipe
from conaclip_edge.config.parse import parse
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.distill.teacher.join_towers import train_teacher
from conaclip_edge.errors import UserError
from conaclip_edge.export.export_bundle import export_bundle
from conaclip_edge.export.targets import TARGETS, export_configs
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.models.teacher.record import TeacherTraining
from conaclip_edge.search.commands import index_pictures
from conaclip_edge.study.compare import compare, recall_table
from conaclip_edge.study.report import ComparisonReport, ModelRecall
from conaclip_edge.system.files import atomic_folder, read_json, write_json
from conaclip_edge.system.latest_run import point_latest
from conaclip_edge.system.products import STUDENT
from conaclip_edge.system.progress import say

GRAPHS = ["infonce", "motis", "conaclip"]


def demo(home: Path) -> BenchmarkReport:
    """Run everything; parts that are finished in `home` are kept.

    Args:
        home: gets teacher/, student/, baselines/, comparison.json, bundle/, report/, pictures/, index/.

    Returns:
        The content of report/report.json; its rows teacher, infonce, motis and conaclip are the comparison.
    """
    teacher, student, bundle, pictures = (home / name for name in ("teacher", "student", "bundle", "pictures"))
    config = distill_recipe(None, []).model_copy(update={"name": "demo", "teacher": str(teacher)})
    if not (teacher / "training.json").exists():
        say("1/5 teacher: EfficientNet-Lite0 and MiniLM joined by a head")
        train_teacher(teacher_recipe(None, ["name=demo-teacher"]), teacher)
    say("2/5 students: the same recipe with three graphs")
    comparison = train_students(config, home)
    say(recall_table(comparison.rows, comparison.n, comparison.split))
    if not exported(bundle, student):
        say("3/5 bundle: int8 for Core ML, Core AI, ExecuTorch and ONNX Mobile, run on held-out pairs")
        # another student's embeddings cannot be searched with this one
        shutil.rmtree(home / "index", ignore_errors=True)
        export_bundle(student, export_configs("all"), bundle, replace=True)
    if not benchmarked(bundle):
        say("4/5 benchmark: latency, memory, size and recall of the bundle's files")
        benchmark(bundle, BenchmarkConfig())
    if not pictures.is_dir():
        with atomic_folder(pictures, None) as folder:
            named_pictures(read_pairs(config.data), folder)
    say("5/5 index: all pictures of the data set, to be searched")
    index_pictures(bundle, pictures, home / "index")
    return read_report(default_report(bundle) / "report.json")


def train_students(config: DistillConfig, home: Path) -> ComparisonReport:
    """Train a student per graph; the one of the last graph becomes student/, all and the teacher comparison.json.

    Args:
        config: the recipe that all share.
        home: of the demo.
    """
    # all at once: on two cores the third would otherwise train alone while a core stands idle
    students = compare(config, GRAPHS, [config.seed], home / "baselines", jobs=len(GRAPHS))
    student = home / "student"
    with atomic_folder(student, STUDENT) as target:
        shutil.copytree(home / "baselines" / f"{GRAPHS[-1]}-s{config.seed}", target, dirs_exist_ok=True)
    point_latest(student)
    record = home / "teacher" / "training.json"
    test = parse(TeacherTraining, read_json(record, "teacher record"), str(record)).test
    teacher = (
        {"teacher": ModelRecall(recall=test.recall, mean=test.mean_recall, certainty=test.certainty)} if test else {}
    )
    comparison = students.model_copy(update={"rows": {**teacher, **students.rows}})
    write_json(home / "comparison.json", comparison.model_dump(mode="json"))
    return comparison


def named_pictures(pairs: Pairs, folder: Path) -> None:
    """Write every picture of a data set into a folder, named by its first caption or, without one, its key."""
    for row, key in enumerate(pairs.keys):
        name = re.sub(r"[^a-z0-9 ]", "", pairs.captions[row][0].lower()).strip() if pairs.captions[row] else ""
        path = folder / f"{name or key}.png"
        # two pictures may share a caption
        (path if not path.exists() else folder / f"{name} {key}.png").write_bytes(pairs.read(row))


def exported(bundle: Path, student: Path) -> bool:
    """Say whether a bundle holds this student for all targets."""
    try:
        manifest = read_manifest(bundle)
    except UserError:
        return False
    targets = {file.target for file in manifest.files}
    return targets >= set(TARGETS) and manifest.embedding_space == embedding_space(load_student(student))


def benchmarked(bundle: Path) -> bool:
    """Say whether the report beside a bundle is of the files that are in it."""
    try:
        report = read_report(default_report(bundle) / "report.json")
    except UserError:  # none, or of an older schema
        return False
    return report.model.digest == read_manifest(bundle).digest


def demo_text(report: BenchmarkReport, home: Path) -> str:
    """Say for a terminal where the report is, show its first table, and name the next step."""
    shown = benchmark_text(report, default_report(home / "bundle"))
    return f"{shown}\nNext: conaclip-edge serve {home / 'index'}"
