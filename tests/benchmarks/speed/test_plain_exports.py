"""What the bundle is compared with: the same student exported without conaclip-edge, and who may be compared at all."""

from __future__ import annotations

import shutil

import pytest

from conaclip_edge.benchmarks.measure.candidates import comparisons, find_student, shipped
from conaclip_edge.benchmarks.measure.delegate_coverage import executorch_coverage
from conaclip_edge.benchmarks.measure.plain_exports import plain_executorch
from conaclip_edge.benchmarks.measure.plain_onnx import plain_onnx
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from tests.helpers.benchmarks.plain_cosines import cosines


def test_onnxruntime_s_defaults_give_two_files_that_run(shop, tmp_path):
    made = plain_onnx(shop / "student", tmp_path, ("dynamic int8",), 20)["dynamic int8"]
    assert made.notes == ()
    assert made.image
    assert made.text
    assert made.sizes == {"image": made.image.stat().st_size, "text": made.text.stat().st_size}
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
    found = rows["onnx-int8-ort"].sizes
    assert (found.image, found.text, found.total) == (*sizes.values(), sum(sizes.values()))


def test_the_random_clip_is_as_large_as_clip_vit_b32_is_known_to_be(shop, tmp_path):
    suite = BenchmarkConfig(comparison=("clip-vit-b32",))
    (clip,) = comparisons(shop / "bundle", read_manifest(shop / "bundle"), suite, tmp_path)
    assert clip.weights == "random"
    assert clip.sizes.total == 4 * 151_277_313


def test_a_checkpoint_that_is_not_there_is_named_with_a_way_out(shop, tmp_path):
    suite = BenchmarkConfig(student=tmp_path / "gone")
    with pytest.raises(UserError, match=r"no checkpoint at .*gone, .*Name it: --set student=FOLDER"):
        find_student(shop / "bundle", read_manifest(shop / "bundle"), suite)


def test_the_student_of_a_bundle_that_export_named_is_found(shop, tmp_path):
    shutil.copytree(shop / "student", tmp_path / "holiday")
    shutil.copytree(shop / "bundle", tmp_path / "holiday.bundle")
    bundle = tmp_path / "holiday.bundle"
    assert find_student(bundle, read_manifest(bundle), BenchmarkConfig()) == tmp_path / "holiday"


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
    with pytest.raises(UserError, match=r"does not say who its teacher was\. Name it: --set teacher=FOLDER\. "):
        comparisons(shop / "bundle", manifest, BenchmarkConfig(comparison=("teacher",)), tmp_path)


def test_a_teacher_that_is_gone_is_named_with_a_way_out(shop, tmp_path):
    suite = BenchmarkConfig(comparison=("teacher",), teacher=str(tmp_path / "gone"))
    with pytest.raises(
        UserError, match=r"Name it: --set teacher=FOLDER\. .*comparison=\[\]\. The reason: no teacher at .*gone: "
    ):
        comparisons(shop / "bundle", read_manifest(shop / "bundle"), suite, tmp_path)
