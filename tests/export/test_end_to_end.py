"""Real files through the whole chain: exported, run by their own runtime, gated, bundled, loaded as the card says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import Tensor

from conaclip_edge.bundle.embeddings import cosines
from conaclip_edge.bundle.golden import read_golden
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.bundle.verify import verify_bundle
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import GateFailed, UserError
from conaclip_edge.export.export_bundle import export_bundle
from conaclip_edge.export.onnx import towers as onnx_towers
from conaclip_edge.export.towers import layers
from conaclip_edge.export.towers.layers import Unit
from conaclip_edge.export.towers.towers import TextTower
from conaclip_edge.models.quantization.post_training import quantize_after_training
from conaclip_edge.models.quantization.record import Quantization, write_quantization
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.models.student.clip_names import saved_name
from tests.helpers.small_students import EOS, drawings

pytestmark = pytest.mark.long

MAC = sys.platform == "darwin"
RUN_BY = {
    "onnx": "native",
    "executorch": "native",
    "coreml": "native" if MAC else "reference",
    "coreai": "native" if MAC else "executor",
}


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    called = [sys.executable, "-m", "conaclip_edge.cli.main", *map(str, arguments)]
    return subprocess.run(called, capture_output=True, text=True, check=False)


def test_int8_files_of_all_targets_keep_what_the_student_finds_and_verify(shipped):
    done = command("verify", shipped, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"], report["problems"]
    files = read_manifest(shipped).files
    assert {file.target for file in files} == set(RUN_BY)
    assert {file["path"]: file["executed"] for file in report["files"]} == {f.path: RUN_BY[f.target] for f in files}
    for file in files:
        assert 0.997 < file.gate.cosine.mean < 0.99999, f"{file.path}: not what int8 leaves"
        assert file.calibration.pairs == 320


def test_the_tables_of_what_files_keep_have_a_row_for_each_file_and_each_target(bars, shipped):
    script = Path(__file__).parents[1] / "tools" / "relative_recall.py"
    called = [sys.executable, str(script), str(shipped), str(bars / "student")]
    done = subprocess.run(called, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    files = [file.path for file in read_manifest(shipped).files if file.form is None]
    assert sorted(row for row in rows if row != "both") == sorted(files)
    assert rows.count("both") == 5, "onnx, ort, pte, mlpackage, aimodel"
    assert re.search(r"both coreml/\*\.mlpackage +\d+\.\d / \d+\.\d % \(-\d+ \+\d+, -\d+ \+\d+\)", done.stdout)


def test_the_manifest_says_how_each_file_was_made(shipped):
    notes = {file.path: file.notes for file in read_manifest(shipped).files}
    assert notes["onnx/image.int8.onnx"]["opset"] == 23
    assert notes["executorch/image.int8.pte"]["delegates"] == 1
    assert {"executorch", "torch"} == set(notes["executorch/text.int8.pte"]["versions"])
    assert "coremltools" in notes["coreml/text.int8.mlpackage"]["versions"]
    assert {"coreai-core", "coreai-torch"} == set(notes["coreai/text.int8.aimodel"]["versions"])
    for path, count in (("onnx/image.int8.onnx", 5), ("onnx/image.int8.ort", 5), ("executorch/text.int8.pte", 3)):
        assert len(notes[path]["accelerators"]) == count


def test_a_second_export_extends_the_bundle_and_keeps_its_embedding_space(bars, shipped, tmp_path):
    bundle = shutil.copytree(shipped, tmp_path / "bundle")
    before = read_manifest(bundle)
    done = command("export", bars / "student", "--target", "onnx", "--precision", "fp16", "--out", bundle, "--json")
    assert done.returncode == 0, done.stderr
    after = read_manifest(bundle)
    assert json.loads(done.stdout)["embedding_space"] == before.embedding_space == after.embedding_space
    added = {file.path for file in after.files} - {file.path for file in before.files}
    both = {f"onnx/{tower}.fp16.{suffix}" for tower in ("image", "text") for suffix in ("onnx", "ort")}
    assert added == both | {"onnx/text.fp16.accelerator.onnx"}


@pytest.mark.parametrize("name", ["onnx/image.int8.onnx", "coreai/image.int8.aimodel/main.mlirb"])
def test_a_flipped_bit_in_a_real_weight_is_found(shipped, tmp_path, name):
    path = shutil.copytree(shipped, tmp_path / "bundle") / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000] + bytes([whole[-2000] ^ 64]) + whole[-1999:])
    (problem,) = verify_bundle(tmp_path / "bundle").problems
    assert (problem.kind, problem.member) == ("altered", name)


def test_the_python_of_the_card_runs_on_the_bundle_alone_and_gives_the_golden_embeddings(shipped):
    code = "\n".join(re.findall(r"```python\n(.*?)\n```", (shipped / "README.md").read_text("utf-8"), re.S))
    code += """
import json, sys
assert not any(name.startswith(("conaclip_edge", "torch")) for name in sys.modules)
golden = json.load(open("golden/golden.json"))
pictures = [embed_picture(f"golden/{name}").tolist() for name in golden["pictures"]]
print(json.dumps([pictures, [embed_text(entry["text"]).tolist() for entry in golden["texts"]]]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=shipped, capture_output=True, text=True, check=True)
    pictures, texts = (np.asarray(rows, np.float32) for rows in json.loads(done.stdout))
    golden = read_golden(shipped / "golden")
    assert cosines(pictures, golden.picture_embeddings).min() > 0.99
    assert cosines(texts, golden.text_embeddings).min() > 0.99


def test_a_mask_that_overflows_in_fp16_is_caught_in_the_real_file(bars, tmp_path, monkeypatch):
    """The usual float32 minimum as mask: exact in float32, 0 * -inf = NaN in float16."""
    for module in (layers, onnx_towers):
        monkeypatch.setattr(module, "MASKED", float(np.finfo(np.float32).min))
    with pytest.raises(GateFailed, match=r"text\.fp16\.onnx: \d+ embeddings are NaN or infinite"):
        export_bundle(bars / "student", [ExportConfig(target="onnx", precision="fp16")], tmp_path / "bundle")


def another_end(tower: TextTower, ids: Tensor) -> Tensor:
    tower.eos_id = EOS - 1
    return FORWARD(tower, ids)


FORWARD = TextTower.forward
FAULTS = {
    "the wrong end of a text": (TextTower, "forward", another_end, r"text\.fp16\.aimodel: mean cosine"),
    "no unit length": (Unit, "forward", lambda _, x: 2 * x, r"image\.fp16\.aimodel: embeddings are not normalised"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_planted_in_a_core_ai_asset_is_caught_by_running_it(bars, tmp_path, monkeypatch, fault):
    place, name, wrong, message = FAULTS[fault]
    monkeypatch.setattr(place, name, wrong)
    config = ExportConfig(target="coreai", precision="fp16", text_shape="range")
    with pytest.raises(GateFailed, match=message):
        export_bundle(bars / "student", [config], tmp_path / "bundle")


def test_a_fault_in_a_process_of_its_own_is_reported_as_one_line(bars, tmp_path):
    targets = [ExportConfig(target="onnx", opset=1), ExportConfig(target="onnx", opset=2, precision="fp32")]
    with pytest.raises(UserError, match="opset 1 cannot be written") as caught:
        export_bundle(bars / "student", targets, tmp_path / "bundle", jobs=2)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_student_that_was_trained_to_compute_in_int8_is_shipped_so_by_itself(bars, tmp_path):
    shutil.copytree(bars / "student", tmp_path / "student")
    trained = load_student(tmp_path / "student")
    tower = quantize_after_training(trained.model.image, drawings(48, seed=1) / 255.0)
    tower.write_to(trained.model.image)
    weights = {saved_name(name): value.contiguous() for name, value in trained.model.state_dict().items()}
    save_file(weights, tmp_path / "student" / "model.safetensors", metadata={"format": "pt"})
    write_quantization(Quantization(image=tower.grids), tmp_path / "student")
    # random towers, whose recall says nothing of int8
    config = ExportConfig(min_cosine=0.99, min_relative_recall=0)
    export_bundle(tmp_path / "student", [config], tmp_path / "bundle", jobs=0)
    files = {file.path: file for file in read_manifest(tmp_path / "bundle").files}
    for suffix in ("onnx", "ort"):
        file = files[f"onnx/image.int8.{suffix}"]
        assert file.notes["arithmetic"] == "int8, static activations"
        assert file.gate.on_grids.min > 0.9999
        assert files[f"onnx/text.int8.{suffix}"].gate.on_grids is None
    assert not verify_bundle(tmp_path / "bundle").problems
