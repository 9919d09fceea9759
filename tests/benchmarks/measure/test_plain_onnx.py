"""Plain ONNX exports: three files of each tower, none of which can fail a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from conaclip_edge.benchmarks.measure.candidates import comparisons
from conaclip_edge.benchmarks.measure.plain_exports import PlainExport, first_that_runs
from conaclip_edge.benchmarks.measure.plain_onnx import OnnxKind, own_opset, plain_calibration, plain_onnx
from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from tests.helpers.benchmarks.plain_cosines import cosines

KINDS: tuple[OnnxKind, ...] = ("float32", "static int8", "dynamic int8")


@pytest.fixture(scope="module")
def manifest(shop: Path) -> Manifest:
    return read_manifest(shop / "bundle")


@pytest.fixture(scope="module")
def made(shop: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> dict[OnnxKind, PlainExport]:
    calibration = plain_calibration(shop / "bundle", manifest, BenchmarkConfig(), shop / "student")
    folder = tmp_path_factory.mktemp("plain")
    return plain_onnx(shop / "student", folder, KINDS, own_opset(manifest), calibration)


def test_the_float_files_are_the_student(made, shop):
    assert made["float32"].notes == ()
    assert cosines(made["float32"], shop / "student") == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize("kind", ["static int8", "dynamic int8"])
def test_the_int8_files_run_and_differ_from_it(kind, made, shop):
    assert all(0.5 < cosine < 0.99999 for cosine in cosines(made[kind], shop / "student"))
    for tower, path in (("image", made[kind].image), ("text", made[kind].text)):
        assert made[kind].sizes[tower] == path.stat().st_size < made["float32"].sizes[tower]


def test_the_files_have_the_bundle_s_opset(made, manifest):
    import onnx

    for path in (made["float32"].image, made["float32"].text, made["static int8"].image):
        opsets = {one.domain: one.version for one in onnx.load(str(path)).opset_import}
        assert opsets[""] == own_opset(manifest) == 23


def test_a_tower_that_does_not_run_at_that_opset_is_made_at_another_and_says_so(made):
    (note,) = made["dynamic int8"].notes  # quantize_dynamic takes the opset's Attention for onnxruntime's own
    assert note.startswith("text tower by quantize_dynamic at the exporter's own opset: the runtime does not run")
    assert str(made["dynamic int8"].text.parent) not in note


def test_static_int8_is_calibrated_on_the_bundle_s_own_pairs(shop, manifest):
    found = plain_calibration(shop / "bundle", manifest, BenchmarkConfig(), shop / "student")
    assert found.note == "calibrated on the 320 train pairs that the bundle's files were calibrated on"
    assert len(found.pixels) == len(found.ids) == 320
    assert found.ids.shape[1] == manifest.context


def test_a_tower_that_cannot_be_exported_is_a_line_and_no_error(tmp_path):
    def refuse() -> Path:
        raise RuntimeError("no kernel\nfor Fold")

    found = first_that_runs("image", torch.zeros(1, 3, 4, 4), {"quantize_static": refuse})
    assert found.path is None
    assert found.size is None
    assert found.note == "image tower: quantize_static cannot export it (no kernel for Fold)"


def test_without_calibration_pictures_the_static_row_says_why_and_the_others_are_there(shop, manifest, tmp_path):
    gone: dict[str, Any] = {"recipe": {"data": {"format": "imagefolder", "path": str(tmp_path / "gone")}}}
    there: Any = BenchmarkConfig(comparison=("plain-onnx-static", "plain-onnx-fp32"), student=shop / "student")
    (tmp_path / "bundle").mkdir()
    training = dict(manifest.training) | gone
    changed = manifest.model_copy(update={"training": training})
    (tmp_path / "bundle" / "manifest.json").write_text(changed.model_dump_json(by_alias=True), "utf-8")
    static, exact = comparisons(tmp_path / "bundle", changed, there, tmp_path)
    assert not static.runs
    assert static.sizes is None
    assert "not made: " in static.notes[1]
    assert "gone" in static.notes[1]
    assert exact.runs
