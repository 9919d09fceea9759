"""The file for accelerators goes the way of every file of a bundle, and nothing opens it in the place of the CPU's."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from conaclip_edge.benchmarks.measure.candidates import shipped
from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.bundle.open import open_bundle
from conaclip_edge.bundle.verify import embed_golden, verify_bundle
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import GateFailed
from conaclip_edge.export.export_bundle import export_bundle
from conaclip_edge.export.onnx import export as onnx_export
from tests.helpers.bar_pictures import SPECIAL
from tests.helpers.small_students import CONTEXT

FP32 = ExportConfig(precision="fp32")
MADE = "onnx/text.fp32.accelerator.onnx"


@pytest.fixture(scope="module")
def bundle(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of real ONNX files, whose picture tower is taken as it is."""
    folder = tmp_path_factory.mktemp("accelerated") / "bundle"
    export_bundle(bars / "student", [FP32], folder, jobs=0)
    return folder


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return read_manifest(bundle)


def test_the_manifest_states_its_form_its_length_and_its_worth(bundle: Path, manifest: Manifest) -> None:
    file = next(file for file in manifest.files if file.path == MADE)
    assert (file.form, file.notes["lengths"], file.notes["batch"]) == ("accelerator", [CONTEXT], 1)
    assert file.gate.cosine.mean > 0.99999
    assert file.gate.alone is not None
    assert file.gate.pair is not None, "with the picture file that accelerators take too"
    assert MADE in manifest.members
    written = json.loads((bundle / "manifest.json").read_text("utf-8"))["files"]
    assert [entry["path"] for entry in written if "form" in entry] == [MADE]


def test_verify_runs_it_on_texts_of_its_length(bundle: Path) -> None:
    lengths: dict[str, set[int]] = {}

    def embed(path, inputs, pad_id):
        if path.name.startswith("text"):
            lengths[path.name] = {len(ids) for ids in inputs}
        return embed_golden(path, inputs, pad_id)

    report = verify_bundle(bundle, embed=embed)
    assert report.ok, report.problems
    assert next(file for file in report.files if file.path == MADE).executed == "native"
    assert lengths["text.fp32.accelerator.onnx"] == {CONTEXT}
    assert len(lengths["text.fp32.onnx"]) > 1


def test_a_wrong_one_does_not_pass_the_gate(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = onnx_export.accelerator_text_model

    def pooled_elsewhere(towers, graph, about):
        text = copy.deepcopy(towers.text)
        text.eos_id = SPECIAL["[CLS]"]
        return sound(replace(towers, text=text), graph, about)

    monkeypatch.setattr(onnx_export, "accelerator_text_model", pooled_elsewhere)
    with pytest.raises(GateFailed, match=r"^onnx fp32: text\.fp32\.accelerator\.onnx: mean cosine [^;]*"):
        export_bundle(bars / "student", [FP32], tmp_path / "bundle", jobs=0)
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_opens_the_file_for_the_cpu(bundle: Path) -> None:
    assert open_bundle(bundle).text.lengths is None


def test_a_benchmark_measures_the_files_for_the_cpu_and_counts_for_accelerators_those_made_for_them(
    bundle: Path, manifest: Manifest
) -> None:
    plain, _ = shipped(bundle, manifest, BenchmarkConfig(targets=("onnx",), precisions=("fp32",)))
    assert {path.name for path in plain.spec.files.values()} == {"image.fp32.onnx", "text.fp32.onnx"}
    counted = {one.name: one for one in plain.accelerators["text"]}
    assert counted["NNAPI"].taken >= 0.9 * counted["NNAPI"].nodes
    assert plain.notes == (f"text tower: accelerators are counted for {MADE}, which is made for them",)


def test_the_card_says_which_file_is_for_what_and_how_it_is_opened(bundle: Path) -> None:
    card = " ".join((bundle / "README.md").read_text("utf-8").split())
    assert "the CPU takes `onnx/text.fp32.onnx` and `onnx/image.fp32.onnx`" in card
    assert f"`{MADE}`: one text of exactly {CONTEXT} ids, filled up with 0 behind the end" in card
    assert "Of pictures an accelerator takes `onnx/image.fp32.onnx`" in card
    assert f'InferenceSession("{MADE}", providers=' in card
    assert 'OnnxTowers(bundleFolder(context), "fp32", accelerator = { addNnapi() })' in card


def test_every_class_that_the_card_calls_is_one_of_the_kit(bundle: Path) -> None:
    called = set(re.findall(r"\b([A-Z]\w+)\(", (bundle / "README.md").read_text("utf-8"))) - {"InferenceSession"}
    kit = "".join(path.read_text("utf-8") for path in (bundle / "kotlin").glob("*.kt"))
    assert "OnnxTowers" in called
    assert called <= set(re.findall(r"^class (\w+)", kit, re.M))
