"""A checkpoint becomes a bundle; what loses recall does not get into it, and the error says where it was lost."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import GateFailed, UserError
from conaclip_edge.export.export_bundle import export_bundle, rejected_folder
from conaclip_edge.export.report import RejectedTarget, export_table
from conaclip_edge.export.run_targets import BASE_BYTES, targets_at_a_time
from conaclip_edge.export.targets import TARGETS
from conaclip_edge.models.student.checkpoint import load_student, save_student
from tests.helpers.bar_pictures import COUNTS, SPECIAL
from tests.helpers.stand_in_exporter import begins_at, masked_by, not_normalised, uncalibrated

ONNX = ExportConfig(target="onnx")
CALIBRATION = ONNX.calibration_pairs


def export(bars: Path, out: Path, *configs: ExportConfig, **options):
    return export_bundle(bars / "student", configs or [ONNX], out, jobs=0, **options)


def test_a_sound_export_becomes_a_bundle(bars, stand_in, tmp_path):
    report = export(bars, tmp_path / "bundle")
    files = {"onnx/image.int8.onnx", "onnx/image.int8.ort", "onnx/text.int8.onnx", "onnx/text.int8.ort"}
    assert {file.path for file in report.files} == files
    there = {path.relative_to(tmp_path / "bundle").as_posix() for path in (tmp_path / "bundle").rglob("*.*")}
    assert files | {"manifest.json", "tokenizer.json", "preprocess.json", "README.md"} <= there
    assert list(tmp_path.iterdir()) == [tmp_path / "bundle"], "something was left beside the bundle"


def test_the_report_says_what_was_measured_on_what(bars, stand_in, tmp_path):
    report = export(bars, tmp_path / "bundle")
    gate = next(file for file in report.files if file.path == "onnx/text.int8.onnx").gate
    assert (gate.split, gate.pictures, gate.captions) == ("val", COUNTS["val"], COUNTS["val"] * 3 // 2)
    assert gate.recall_student == gate.alone.recall == gate.pair.recall
    assert min(gate.recall_student["t2i"].values()) > 50
    assert gate.cosine.mean == pytest.approx(1, abs=1e-5)
    assert gate.alone.relative_recall == gate.pair.relative_recall == {"t2i": 1, "i2t": 1}
    assert report.targets["onnx int8"].peak_rss_bytes > 50_000_000


def test_apps_ask_for_one_picture_or_text_at_a_time_and_so_does_the_gate(bars, stand_in, tmp_path):
    export(bars, tmp_path / "bundle")
    assert stand_in.batches
    assert {shape[0] for shape in stand_in.batches} == {1}


def test_calibration_is_drawn_and_recorded_for_int8_alone(bars, stand_in, tmp_path):
    export(bars, tmp_path / "bundle", ONNX, ONNX.model_copy(update={"target": "coreml", "precision": "fp16"}))
    assert [len(calibration) for calibration in stand_in.calibrations] == [CALIBRATION, 0]
    rows = read_manifest(tmp_path / "bundle").files
    recorded = {file.precision: file.calibration for file in rows}
    assert recorded["fp16"] is None
    assert recorded["int8"].pairs == CALIBRATION
    assert recorded["int8"].sha256 == stand_in.calibrations[0].sha256


FAULTS = {
    "wrong EOS": ("text", begins_at(SPECIAL["[CLS]"]), "int8", r"text\.int8\.onnx: .*mean cosine 0"),
    "EOS at the largest id": ("text", begins_at(49), "int8", r"text\.int8\.onnx: .*mean cosine"),
    "not normalised image": ("image", not_normalised, "int8", r"image\.int8\.onnx: embeddings are not normalised"),
    "not normalised text": ("text", not_normalised, "int8", r"text\.int8\.onnx: embeddings are not normalised"),
    "uncalibrated image": ("image", uncalibrated, "int8", r"image\.int8\.onnx: mean cosine"),
    "uncalibrated text": ("text", uncalibrated, "int8", r"text\.int8\.onnx: mean cosine"),
    "mask of -inf in fp16": (
        "text",
        masked_by(float(np.finfo(np.float32).min)),
        "fp16",
        r"text\.fp16\.onnx: 33 embeddings are NaN or infinite",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_rejected(fault, bars, stand_in, tmp_path):
    tower, change, precision, message = FAULTS[fault]
    stand_in.faults[tower] = change
    with pytest.raises(GateFailed, match=message) as caught:
        export(bars, tmp_path / "bundle", ONNX.model_copy(update={"precision": precision}))
    other = {"image": "text", "text": "image"}[tower]
    assert f"{other}.{precision}" not in str(caught.value), "the sound tower was blamed too"
    assert not (tmp_path / "bundle").exists()
    kept = rejected_folder(tmp_path / "bundle") / f"onnx-{precision}"
    assert (kept / f"{tower}.{precision}.onnx").is_file()
    rejected = RejectedTarget.model_validate_json((kept / "rejected.json").read_bytes())
    assert rejected.failures
    assert {file.path for file in rejected.files} >= {f"onnx/{name}.{precision}.onnx" for name in ("image", "text")}


def test_a_bounded_mask_passes_in_fp16(bars, stand_in, tmp_path):
    stand_in.faults["text"] = masked_by()
    export(bars, tmp_path / "bundle", ONNX.model_copy(update={"precision": "fp16"}))


def test_the_group_of_layers_at_fault_is_named(bars, stand_in, tmp_path):
    """One block's weights lose what int8 rounds away: the file is worse, and the listing finds the block."""
    folder = tmp_path / "student"
    student = load_student(bars / "student")
    layer = student.model.text.clip.text_model.encoder.layers[0].mlp.fc1
    with torch.no_grad():
        layer.weight[:, 3] = 60.0  # int8 rounds the other columns of every row to nothing
        layer.bias -= 60.0 * student.model.text.clip.text_model.encoder.layers[0].layer_norm2.bias[3]
        student.model.text.clip.text_model.encoder.layers[0].layer_norm2.weight[3] = 0
    save_student(student.model, json.loads((bars / "student/tokenizer.json").read_text()), student.training, folder)

    def rounded(tower):
        from conaclip_edge.export.quantize.sensitivity import round_weight

        tower.blocks[0].fc1.weight.data = round_weight(tower.blocks[0].fc1.weight.data)
        return tower

    stand_in.faults["text"] = rounded
    with pytest.raises(GateFailed, match=r"text tower: most quantisation error in text\.blocks\.0 \(\d+ %\)"):
        export_bundle(folder, [ONNX.model_copy(update={"smoothing": 0})], tmp_path / "bundle")


def test_a_fault_of_the_graph_is_not_put_down_to_rounding(bars, stand_in, tmp_path):
    stand_in.faults["text"] = begins_at(SPECIAL["[CLS]"])
    with pytest.raises(
        GateFailed, match=r"text tower: int8 rounding of its layers explains .*look at the graph itself"
    ):
        export(bars, tmp_path / "bundle")


def test_a_target_that_passes_is_kept_when_another_fails(bars, stand_in, tmp_path):
    out = tmp_path / "bundle"
    real = stand_in.export

    def fails_for_onnx(towers, calibration, config, folder):
        stand_in.faults = {"text": not_normalised} if config.target == "onnx" else {}
        return real(towers, calibration, config, folder)

    stand_in.export = fails_for_onnx
    with pytest.raises(GateFailed, match=r"onnx int8: .* The targets that passed are in .*bundle"):
        export(bars, out, ONNX, ONNX.model_copy(update={"target": "executorch"}))
    assert {file.target for file in read_manifest(out).files} == {"executorch"}
    assert not (out / "onnx").exists()
    stand_in.export = real
    stand_in.faults = {}
    export(bars, out)
    assert not (rejected_folder(out) / "onnx-int8").exists(), "the rejected files outlived the fault"


def test_one_target_extends_the_bundle_of_another(bars, stand_in, tmp_path):
    out = tmp_path / "bundle"
    export(bars, out)
    before = {path: path.read_bytes() for part in ("onnx", "golden") for path in (out / part).rglob("*.*")}
    export(bars, out, ONNX.model_copy(update={"target": "coreml"}))
    assert {file.target for file in read_manifest(out).files} == {"onnx", "coreml"}
    assert all(path.read_bytes() == content for path, content in before.items())
    assert (out / "coreml/image.int8.mlpackage/Data/weights.bin").is_file()


def test_two_exports_of_one_checkpoint_are_alike_to_the_last_byte(bars, stand_in, tmp_path):
    first = export(bars, tmp_path / "a")
    stand_in.kept.clear()
    second = export(bars, tmp_path / "b")
    assert first.digest == second.digest
    for path in sorted((tmp_path / "a").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path


def test_texts_are_filled_up_where_a_file_takes_certain_lengths(bars, stand_in, tmp_path):
    stand_in.lengths = (5, 9, 12)
    export(bars, tmp_path / "bundle")
    assert {shape[1] for shape in stand_in.batches if len(shape) == 2} == {5, 9, 12}


def test_data_that_are_gone_are_asked_for(bars, stand_in, tmp_path):
    student = load_student(bars / "student")
    training = json.loads(json.dumps(student.training))
    training["recipe"]["data"]["path"] = str(tmp_path / "gone")
    tokenizer = json.loads((bars / "student/tokenizer.json").read_text())
    save_student(student.model, tokenizer, training, tmp_path / "student")
    with pytest.raises(UserError, match=r"distilled on cannot be read: .*gone.*pass --data RECIPE_OR_FOLDER"):
        export_bundle(tmp_path / "student", [ONNX], tmp_path / "bundle")
    report = export_bundle(tmp_path / "student", [ONNX], tmp_path / "bundle", data=bars / "data")
    assert report.dataset.split == "val"


def test_only_val_pictures_are_read_for_the_gate(bars):
    from conaclip_edge.config.data import DataConfig
    from conaclip_edge.data.load import read_pairs
    from conaclip_edge.data.pairs import Pairs
    from conaclip_edge.export.gate.held_out import held_out

    config = DataConfig(format="imagefolder", path=bars / "data")
    pairs = read_pairs(config)
    read: list[int] = []
    spied = Pairs(
        pairs.name, pairs.keys, pairs.captions, pairs.splits, lambda row: read.append(row) or pairs.read(row), "x"
    )
    held = held_out(load_student(bars / "student"), spied, 7, config)
    assert len(read) == len(held.pictures) == 7
    assert {pairs.splits[row] for row in read} == {"val"}
    assert held.caption_to_image.max() == 6


def without_captions(bars: Path, folder: Path) -> Path:
    """The val pictures as a folder of their own, without a metadata file."""
    folder.mkdir()
    for picture in sorted((bars / "data").glob("val-*.png")):
        shutil.copyfile(picture, folder / picture.name)
    return folder


def test_without_any_caption_the_files_are_judged_by_cosines_and_pictures(bars, stand_in, tmp_path):
    report = export(bars, tmp_path / "bundle", data=without_captions(bars, tmp_path / "bare"))
    gates = {file.tower: file.gate for file in report.files}
    image, text = gates["image"], gates["text"]
    assert image.found == "student pictures", "the record of this student names no teacher"
    assert image.alone.relative_recall == {"t2i": 1, "i2t": 1}
    assert text.alone is text.pair is image.pair is None
    assert text.cosine.mean == pytest.approx(1, abs=1e-5)
    assert {file.calibration.texts_from for file in report.files} == {"phrases"}
    shown = export_table(report)
    assert "recall from texts cannot be measured" in shown
    card = (tmp_path / "bundle" / "README.md").read_text("utf-8")
    assert "recall from texts cannot be measured" in card
    assert {file.gate.found for file in read_manifest(tmp_path / "bundle").files} == {"student pictures"}


def test_without_captions_a_broken_file_still_fails(bars, stand_in, tmp_path):
    stand_in.faults["text"] = begins_at(SPECIAL["[CLS]"])
    with pytest.raises(GateFailed, match=r"text\.int8\.onnx: .*mean cosine 0"):
        export(bars, tmp_path / "bundle", data=without_captions(bars, tmp_path / "bare"))


def test_where_val_is_small_the_gate_takes_test_too_and_says_so(bars, stand_in, tmp_path, capsys):
    data = tmp_path / "few"
    data.mkdir()
    lines = (bars / "data/metadata.jsonl").read_text("utf-8").splitlines()
    counts = {"train": 8, "val": 3, "test": 3}
    kept = [
        line
        for split, count in counts.items()
        for line in [one for one in lines if f'"split": "{split}"' in one][:count]
    ]
    for line in kept:
        name = json.loads(line)["file_name"]
        shutil.copyfile(bars / "data" / name, data / name)
    (data / "metadata.jsonl").write_text("\n".join(kept) + "\n", "utf-8")
    report = export(bars, tmp_path / "bundle", data=data)
    gate = report.files[0].gate
    assert (gate.split, gate.pictures) == ("val + test", 6)
    assert gate.too_few
    assert report.files[0].calibration.pictures == 8
    assert report.files[0].calibration.pairs == 64
    shown = export_table(report)
    assert "6 pictures are too few to tell whether recall was lost" in shown
    assert "3 pictures of val are few" in capsys.readouterr().err


def test_the_report_names_the_checkpoint_and_what_was_skipped(bars, stand_in, tmp_path):
    report = export(bars, tmp_path / "bundle", skipped=["coreml is skipped: it has no fp32"])
    assert report.checkpoint == bars / "student"
    shown = export_table(report)
    assert f"bundle of {bars / 'student'} in" in shown
    assert "coreml is skipped: it has no fp32." in shown
    assert "the command's own included" in shown, "it ran in this process"


def test_a_missing_toolchain_is_reported_before_any_work(bars, monkeypatch, tmp_path):
    monkeypatch.setitem(TARGETS, "coreml", replace(TARGETS["coreml"], module="tests.helpers.without_coremltools"))
    with pytest.raises(UserError, match=r"cannot be exported on this host: .*pip install 'conaclip-edge\[coreml\]'"):
        export_bundle(tmp_path / "no checkpoint", [ONNX.model_copy(update={"target": "coreml"})], tmp_path / "bundle")


def test_a_folder_that_is_no_bundle_is_left_alone(bars, stand_in, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"a")
    for over in (False, True):
        with pytest.raises(UserError, match="photos exists and is no bundle; it is left alone"):
            export(bars, tmp_path / "photos", replace=over)
    assert (tmp_path / "photos/a.jpg").read_bytes() == b"a"


def test_another_student_does_not_get_into_the_bundle_unless_it_replaces_it(bars, stand_in, tmp_path):
    out = tmp_path / "bundle"
    old = export(bars, out).embedding_space
    student = load_student(bars / "student")
    with torch.no_grad():
        student.model.image.projection.weight[0, 0] += 1e-6
    tokenizer = json.loads((bars / "student/tokenizer.json").read_text())
    save_student(student.model, tokenizer, student.training, tmp_path / "student")
    with pytest.raises(UserError, match=f"holds another student .embedding space {old[:12]}"):
        export_bundle(tmp_path / "student", [ONNX], out)
    assert read_manifest(out).embedding_space == old
    export_bundle(tmp_path / "student", [ONNX], out, replace=True)
    assert read_manifest(out).embedding_space != old


def test_a_damaged_bundle_is_not_extended(bars, stand_in, tmp_path):
    out = tmp_path / "bundle"
    export(bars, out)
    (out / "onnx/text.int8.onnx").write_bytes(b"other")
    with pytest.raises(UserError, match=r"is damaged and is not extended: onnx/text\.int8\.onnx: has 5 bytes"):
        export(bars, out, ONNX.model_copy(update={"target": "coreml"}))


def test_an_export_that_dies_leaves_the_old_bundle(bars, stand_in, tmp_path):
    out = tmp_path / "bundle"
    export(bars, out)
    kept = tmp_path / "kept"
    shutil.copytree(out, kept)

    def dies(_):
        raise KeyboardInterrupt

    stand_in.faults["text"] = dies
    with pytest.raises(KeyboardInterrupt):
        export(bars, out, ONNX.model_copy(update={"target": "coreml"}))
    assert {path.relative_to(out) for path in out.rglob("*")} == {path.relative_to(kept) for path in kept.rglob("*")}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "kept"]


def test_as_many_targets_run_at_a_time_as_memory_and_processors_hold():
    for free, cores, count in ((1, 8, 1), (2.1 * BASE_BYTES, 8, 2), (100 * BASE_BYTES, 8, 3), (100 * BASE_BYTES, 2, 2)):
        assert targets_at_a_time(3, 10_000, cores, int(free)) == count
    assert targets_at_a_time(3, 2 * BASE_BYTES, 8, 100 * BASE_BYTES) == 1, "a large student"


def test_listing_sensitivity_names_every_layer_of_both_towers(bars, stand_in, tmp_path):
    report = export(bars, tmp_path / "bundle", list_sensitivity=True)
    errors = report.targets["onnx int8"].sensitivity
    assert {name.split(".")[0] for name in errors} == {"image", "text"}
    assert "text.table" in errors
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
