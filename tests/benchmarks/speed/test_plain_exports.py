"""What the bundle is compared with: the same student exported without conaclip-edge, and who may be compared at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from conaclip_edge.benchmarks.measure.candidates import comparisons, find_student, shipped
from conaclip_edge.benchmarks.measure.delegate_coverage import executorch_coverage
from conaclip_edge.benchmarks.measure.plain_exports import PlainExport, plain_executorch, plain_onnx
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.runtime.open_tower import open_tower


def cosines(made: PlainExport, student: Path) -> list[float]:
    """Run both files on a picture and a padded text; returns their cosines to the float student's embeddings."""
    found = load_student(student)
    size, context = found.model.config.image.size, found.model.config.text.context
    pixels = np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)
    ids = found.tokenizer(["w4 w7 w9"])
    padded = np.pad(ids, ((0, 0), (0, context - ids.shape[1])), constant_values=found.tokenizer.pad_id)
    with torch.inference_mode():
        wanted = (found.model.encode_image(torch.from_numpy(pixels)), found.model.encode_text(torch.from_numpy(ids)))
    assert made.image
    assert made.text
    given = (open_tower(made.image)(pixels), open_tower(made.text)(padded))
    return [float((one[0] * other[0].numpy()).sum()) for one, other in zip(given, wanted, strict=True)]


def test_onnxruntime_s_defaults_give_two_files_that_run(shop, tmp_path):
    made = plain_onnx(shop / "student", tmp_path)
    assert made.notes == ()
    assert made.sizes == {tower: (tmp_path / f"{tower}.int8.onnx").stat().st_size for tower in ("image", "text")}
    assert all(0.5 < cosine < 0.99999 for cosine in cosines(made, shop / "student"))


def test_executorch_s_defaults_give_two_float_files_that_are_the_student(shop, tmp_path):
    made = plain_executorch(shop / "student", tmp_path)
    assert made.notes == ()
    assert cosines(made, shop / "student") == pytest.approx([1, 1], abs=1e-5)
    assert made.image
    found = executorch_coverage(made.image)
    assert found.accelerated == "XNNPACK delegate"
    assert found.inside >= 1


def test_rows_of_a_bundle_carry_the_sizes_of_its_files(shop):
    manifest = read_manifest(shop / "bundle")
    rows = {one.spec.row: one for one in shipped(shop / "bundle", manifest, BenchmarkConfig())}
    assert set(rows) == {"onnx-int8", "onnx-int8-ort"}
    sizes = {tower: (shop / f"bundle/onnx/{tower}.int8.ort").stat().st_size for tower in ("image", "text")}
    assert rows["onnx-int8-ort"].sizes.model_dump() == sizes | {"total": sum(sizes.values())}


def test_the_random_clip_is_as_large_as_clip_vit_b32_is_known_to_be(shop, tmp_path):
    suite = BenchmarkConfig(comparison=("clip-vit-b32",))
    (clip,) = comparisons(shop / "bundle", read_manifest(shop / "bundle"), suite, tmp_path)
    assert clip.weights == "random"
    assert clip.sizes.total == 4 * 151_277_313


def test_a_checkpoint_that_is_not_there_is_named_with_a_way_out(shop, tmp_path):
    suite = BenchmarkConfig(student=tmp_path / "gone")
    with pytest.raises(UserError, match=r"no checkpoint at .*gone, .*Name it in the suite \(student: FOLDER\)"):
        find_student(shop / "bundle", read_manifest(shop / "bundle"), suite)


def test_a_bundle_is_not_compared_with_another_student(shop, tmp_path):
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(shop / "student", other)
    weights = load_file(other / "model.safetensors")
    name = next(iter(sorted(weights)))
    save_file(weights | {name: weights[name] + 1}, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"was not exported from the checkpoint .*other"):
        find_student(shop / "bundle", read_manifest(shop / "bundle"), BenchmarkConfig(student=other))


def test_a_bundle_that_names_no_teacher_asks_for_one(shop, tmp_path):
    manifest = read_manifest(shop / "bundle").model_copy(update={"training": {}})
    with pytest.raises(UserError, match=r"does not say who its teacher was\. Name it in the suite \(teacher: FOLDER\)"):
        comparisons(shop / "bundle", manifest, BenchmarkConfig(comparison=("teacher",)), tmp_path)


def test_a_teacher_that_is_gone_is_named_with_a_way_out(shop, tmp_path):
    suite = BenchmarkConfig(comparison=("teacher",), teacher=str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"no teacher at .*gone: .* name another in the suite \(teacher: FOLDER\)"):
        comparisons(shop / "bundle", read_manifest(shop / "bundle"), suite, tmp_path)
