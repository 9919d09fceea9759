"""The order of `demo`, and what a second call keeps; its steps are stood in for, each is tested by itself."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conaclip_edge.cli import main as cli
from conaclip_edge.evaluation.evaluate import EvaluatedSplit
from conaclip_edge.models.teacher.record import SplitRecall, TeacherData, TeacherTraining
from conaclip_edge.study.report import ComparisonMachine, ComparisonReport, SeedsRecall

RECALL = {way: {"1": 10.0, "5": 20.0, "10": 30.0} for way in ("t2i", "i2t")}


class Steps:
    """Stands in for the four steps, and notes which were done."""

    def __init__(self, student: Path):
        self.student = student
        self.done: list[str] = []
        self.digest = "1"

    def train_teacher(self, config: Any, out: Path) -> None:
        self.done.append("teacher")
        out.mkdir(parents=True)
        found = SplitRecall(recall=RECALL, mean_recall=20.0, n=8)
        data = TeacherData(name="pictures", fingerprint="1", licence="CC0")
        record = TeacherTraining(recipe=config, data=data, val=found, test=found)
        (out / "training.json").write_text(record.model_dump_json(), "utf-8")

    def compare(self, config: Any, graphs: list[str], seeds: list[int], out: Path, jobs: int) -> ComparisonReport:
        shutil.copytree(self.student, out / f"conaclip-s{config.seed}", dirs_exist_ok=True)
        row = SeedsRecall(
            mean=20.0,
            recall=RECALL,
            mean_recall=(20.0,),
            val_mean_recall=(20.0,),
            seconds=(1.0,),
            parameters={"all": 1},
        )
        return ComparisonReport(
            split="test",
            n=8,
            seeds=tuple(seeds),
            dataset=EvaluatedSplit(name="pictures", split="test", pictures=8, captions=8, left_out=(), fingerprint="1"),
            recipe={},
            environment=ComparisonMachine(system="Linux", machine="x86_64", cores=2, threads_a_run=1, versions={}),
            rows=dict.fromkeys(graphs, row),
        )

    def export(self, student: Path, configs: list[Any], out: Path, replace: bool) -> None:
        from conaclip_edge.bundle.manifest import digest_of, manifest_text, read_manifest
        from conaclip_edge.bundle.write import embedding_space
        from conaclip_edge.models.student.checkpoint import load_student
        from tests.helpers.benchmarks.small_towers import small_bundle

        self.done.append("+".join(config.target for config in configs))
        shutil.rmtree(out, ignore_errors=True)
        small_bundle(out, {f"{config.target}/image.int8.x": config.target for config in configs})
        space = embedding_space(load_student(student))
        manifest = read_manifest(out).model_copy(update={"embedding_space": space})
        text = manifest_text(manifest.model_copy(update={"digest": digest_of(manifest)}))
        (out / "manifest.json").write_text(text, "utf-8")

    def index(self, bundle: Path, pictures: Path, out: Path, *_: Any) -> None:
        names = {path.name: path.read_bytes() for path in pictures.iterdir()}
        assert names == {"red heart.png": b"picture 0", "red heart 1F2.png": b"picture 1", "E01.png": b"picture 2"}
        self.done.append("new index" if not out.exists() else "index")
        out.mkdir(exist_ok=True)

    def benchmark(self, bundle: Path, suite: Any, out: Path) -> Any:
        from conaclip_edge.benchmarks.report.write import write_report
        from conaclip_edge.benchmarks.schema.report import parse_report
        from conaclip_edge.bundle.manifest import read_manifest
        from tests.helpers.benchmarks.sample import sample_values

        comparison = bundle.parent / "comparison.json"
        assert list(json.loads(comparison.read_text("utf-8"))["rows"]) == ["teacher", "infonce", "motis", "conaclip"]
        self.done.append("benchmark")
        values = sample_values()
        values["model"]["digest"] = read_manifest(bundle).digest
        report = parse_report(values, "the sample")
        write_report(report, out)
        return report


def two_alike() -> Any:
    """Three pictures: two of one caption, and one without any."""
    return SimpleNamespace(
        keys=("1F1", "1F2", "E01"),
        captions=(("Red heart!",), ("red heart", "love"), ()),
        read=lambda row: b"picture %d" % row,
    )


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    from tests.helpers.bar_pictures import write_checkpoint, write_pictures

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    made = Steps(write_checkpoint(tmp_path / "student", write_pictures(tmp_path / "data")))
    monkeypatch.setattr("conaclip_edge.demo.run.train_teacher", made.train_teacher)
    monkeypatch.setattr("conaclip_edge.demo.run.compare", made.compare)
    monkeypatch.setattr("conaclip_edge.demo.run.export_bundle", made.export)
    monkeypatch.setattr("conaclip_edge.benchmarks.suite.run.run_benchmark", made.benchmark)
    monkeypatch.setattr("conaclip_edge.demo.run.read_pairs", lambda data: two_alike())
    monkeypatch.setattr("conaclip_edge.demo.run.index_pictures", made.index)
    monkeypatch.setattr(sys, "argv", ["conaclip-edge", "demo"])
    return made


def test_the_demo_ends_with_the_place_of_the_report_and_its_first_table(steps, capfd):
    _run()
    out = capfd.readouterr().out.splitlines()
    assert steps.done == ["teacher", "onnx+executorch+coreml+coreai", "benchmark", "new index"]
    assert out[-1] == "Next: conaclip-edge serve runs/demo/index"
    assert out[0] == "report: runs/demo/report/report.html"
    assert "R@1/5/10" in out[1]
    assert any(line.startswith("> ExecuTorch int8") for line in out)
    assert Path("runs/demo/report/report.html").is_file()
    assert Path("runs/latest").resolve() == Path("runs/demo/student").resolve()


def test_a_second_call_keeps_what_is_finished_and_does_what_is_not(steps, capfd):
    _run()
    first = capfd.readouterr().out
    _run()
    assert capfd.readouterr().out == first
    assert steps.done == ["teacher", "onnx+executorch+coreml+coreai", "benchmark", "new index", "index"]
    shutil.rmtree("runs/demo/report")
    _run()
    assert steps.done[5:] == ["benchmark", "index"]


def test_another_student_gets_a_bundle_and_a_report_of_its_own(steps):
    from safetensors.torch import load_file, save_file

    _run()
    weights = load_file(steps.student / "model.safetensors")
    changed = {name: value + 0.01 if value.is_floating_point() else value for name, value in weights.items()}
    save_file(changed, steps.student / "model.safetensors", metadata={"format": "pt"})
    _run()
    assert steps.done[4:] == ["onnx+executorch+coreml+coreai", "benchmark", "new index"]


def _run() -> None:
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
