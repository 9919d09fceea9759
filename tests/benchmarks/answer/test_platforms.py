"""Which files a report chooses for which platform, on reports made by hand."""

from __future__ import annotations

import pytest

from conaclip_edge.benchmarks.answer.platforms import RULES, decide, decided
from conaclip_edge.benchmarks.schema.row_ids import STUDENT
from tests.helpers.benchmarks.choices import LOSSY, Values, choice, counted, host, on_a_phone, parsed, rows_of, without

ARM64 = {"onnx-int8": (56.0, 0.8), "executorch-int8": (26.6, 0.7)}


def test_every_platform_has_a_choice_and_a_rule() -> None:
    assert [one.platform for one in decide(parsed(host()))] == ["iPhone", "Android", "Browser", "Server"] == list(RULES)


def test_an_iphone_gets_core_ml_though_nothing_was_timed_there() -> None:
    found = choice(counted(host(), ARM64), "iPhone")
    assert (found.basis, found.row, found.files) == ("format", "coreml-int8", "coreml/*.int8.mlpackage")
    assert found.work is None
    assert any("an interpreter" in one for one in found.unmeasured)
    assert found.next == "conaclip-edge benchmark runs/demo/bundle --device ios"
    assert found.why.endswith("An app that has ExecuTorch already can take ExecuTorch int8.")


def test_without_core_ml_in_the_bundle_an_iphone_gets_what_takes_the_fewest_instructions() -> None:
    found = choice(counted(without(host(), "coreml-int8"), ARM64), "iPhone")
    assert (found.basis, found.row) == ("counted", "executorch-int8")


def test_of_several_precisions_of_core_ml_the_smallest_is_chosen() -> None:
    values = host()
    small = rows_of(values)["coreml-int8"]
    large = small | {"id": "coreml-fp16", "label": "Core ML fp16", "precision": "fp16"}
    large["size_bytes"] = {"image": 2_000_000, "text": 4_000_000, "total": 6_000_000}
    assert choice(values | {"rows": [large, *values["rows"]]}, "iPhone").row == "coreml-int8"


def test_times_of_a_host_decide_nothing_for_a_phone() -> None:
    found = choice(host(), "Android")
    assert (found.basis, found.row, found.work) == ("undecided", None, None)
    assert found.label == "ONNX int8 or ExecuTorch int8"
    assert "instructions on arm64" in found.unmeasured
    assert found.next == ("conaclip-edge benchmark runs/demo/bundle --device arm64 --into runs/demo/report/report.json")


def test_instructions_on_arm64_decide_for_android_until_a_phone_is_timed() -> None:
    found = choice(counted(host(), {"onnx-int8": (20.0, 0.8), "executorch-int8": (26.6, 0.7)}), "Android")
    assert (found.basis, found.row) == ("counted", "onnx-int8")
    assert found.work is not None
    assert (found.work.unit, found.work.where) == ("instructions", "arm64 (emulated Cortex-A76)")
    assert (found.work.picture, found.work.query) == (20e6, 0.8e6)
    assert found.why.endswith("For queries alone ExecuTorch int8 takes less.")
    assert "--device android" in found.next


def test_the_milliseconds_of_a_phone_decide_for_its_system() -> None:
    values = on_a_phone(
        counted(host(), ARM64), "Pixel 9", "Android 16", {"onnx-int8": (3, 1), "executorch-int8": (4, 1)}
    )
    found = choice(values, "Android")
    assert (found.basis, found.row, found.next) == ("timed", "onnx-int8", "")
    assert found.work is not None
    assert (found.work.where, found.work.unit) == ("Pixel 9", "ms")
    assert choice(values, "iPhone").basis == "format"
    values = on_a_phone(host(), "iPhone 17", "iOS 26", {"coreml-int8": (9, 2), "executorch-int8": (4, 1)})
    assert (choice(values, "iPhone").row, choice(values, "iPhone").basis) == ("executorch-int8", "timed")
    assert choice(values, "Android").basis == "undecided"


def test_the_only_files_of_a_platform_are_chosen_without_a_measurement() -> None:
    found = choice(without(host(), "executorch-int8"), "Android")
    assert (found.basis, found.row, found.work) == ("only", "onnx-int8", None)
    assert "--device arm64" in found.next


def test_the_browser_gets_the_files_that_web_takes() -> None:
    found = choice(host(), "Browser")
    assert (found.basis, found.row, found.files, found.work) == ("format", "onnx-int8", "onnx/*.int8.onnx", None)
    assert found.next.startswith("conaclip-edge web runs/demo/bundle")


def test_what_a_browser_measured_stands_beside_its_files() -> None:
    values = host()
    measured = rows_of(values)["onnx-int8"] | {"id": "web-int8", "label": "Web int8, Chromium 140", "target": "web"}
    found = choice(values | {"rows": [*values["rows"], measured | {"recall": None, "mean_recall": None}]}, "Browser")
    assert (found.row, found.next) == ("onnx-int8", "")
    assert found.work is not None
    assert found.work.row == "web-int8"
    assert found.why.endswith("Timed in a browser on AMD EPYC, 2 cores, Linux.")
    assert found.mean_recall is not None


def test_a_server_gets_the_fastest_row_of_the_machine_and_it_is_the_report_s_ship() -> None:
    found = choice(host(), "Server")
    assert (found.basis, found.row) == ("timed", "executorch-int8")
    assert decided(parsed(host())).ship == "executorch-int8"
    assert found.memory_bytes == 103_000_000 - 71_000_000


def test_a_server_without_times_gets_the_fewest_instructions_on_x86_64() -> None:
    values = counted(host(), {"onnx-int8": (9.0, 0.5), "executorch-int8": (10.0, 0.5)}, "x86-64 (emulated Haswell)")
    for one in values["rows"]:
        one["latency_ms"] = {}
    found = choice(values, "Server")
    assert (found.basis, found.row) == ("counted", "onnx-int8")


def test_a_report_of_arm64_alone_chooses_by_instructions_and_says_that_recall_is_elsewhere() -> None:
    values = counted(host(), ARM64)
    values["rows"] = [one for one in values["rows"] if one.get("device")]
    found = choice(values, "Android")
    assert (found.basis, found.row) == ("counted", "executorch-int8-arm64")
    assert (found.pictures, found.mean_recall is None) == (64, False)
    assert any("float32 model's recall" in one for one in found.unmeasured)
    assert choice(values, "Server").basis == "undecided"


@pytest.mark.parametrize("way", ["t2i", "i2t"])
def test_files_that_lose_recall_in_one_direction_are_not_chosen(way: str) -> None:
    values = counted(host(), ARM64)
    rows_of(values)["executorch-int8"]["relative_recall"]["student"][way] = LOSSY[way]
    assert choice(values, "Android").row == "onnx-int8"
    assert choice(values, "Server").row == "onnx-int8"


def test_a_loss_that_may_be_chance_keeps_no_file_from_being_chosen() -> None:
    values = host()
    rows_of(values)["executorch-int8"]["relative_recall"]["student"]["t2i"] = {
        "value": 0.97,
        "low": 0.95,
        "high": 0.991,
    }
    assert choice(values, "Server").row == "executorch-int8"


def test_a_relative_recall_that_is_hardly_known_is_not_enough() -> None:
    values = host()
    rows_of(values)["executorch-int8"]["relative_recall"]["student"]["i2t"] |= {"low": 0.85, "high": 1.1}
    assert choice(values, "Server").row == "onnx-int8"


def test_files_that_miss_the_golden_vectors_on_a_device_are_not_chosen() -> None:
    values = counted(host(), ARM64)
    rows_of(values)["executorch-int8-arm64"]["on_device"]["image"]["golden_passed"] = False
    assert choice(values, "Android").row == "onnx-int8"


def test_where_all_files_lose_recall_nothing_is_chosen_and_plain_exports_that_do_not_are_named() -> None:
    values = host()
    for name in ("onnx-int8", "executorch-int8", "coreml-int8"):
        rows_of(values)[name]["relative_recall"] = {"student": LOSSY}
    found = {one.platform: one for one in decide(parsed(values))}
    assert {one.basis for one in found.values()} == {"nothing"}
    assert "Plain exports do: Plain ONNX int8 (dynamic)." in found["Android"].why


def test_a_bundle_without_files_for_a_platform_says_how_to_make_them() -> None:
    found = choice(without(host(), "onnx-int8"), "Browser")
    assert (found.basis, found.row, found.why) == ("nothing", None, "The bundle has no files for it.")
    assert found.next == "conaclip-edge export --target onnx --out runs/demo/bundle"


def test_without_the_float_model_files_are_chosen_and_what_is_not_known_is_said() -> None:
    values = without(host(), STUDENT)
    for one in values["rows"]:
        one.get("relative_recall", {}).pop("student", None)
    found = choice(values, "Server")
    assert found.row == "executorch-int8"
    assert any("--set student=FOLDER" in one for one in found.unmeasured)


def few(values: Values) -> None:
    values["dataset"]["pictures"] = 12


def at_chance(values: Values) -> None:
    values["dataset"]["chance"] = 62.0


@pytest.mark.parametrize("change", [few, at_chance])
def test_where_recall_tells_nothing_no_file_is_chosen(change) -> None:
    values = host()
    change(values)
    found = decided(parsed(values))
    assert (found.platforms, found.ship) == ((), None)


def test_every_figure_of_a_choice_is_that_of_its_row() -> None:
    report = parsed(counted(host(), ARM64))
    for found in decide(report):
        assert found.row
        row = report.row(found.row)
        assert row.size_bytes is not None
        assert (found.mean_recall, found.mean_interval) == (row.mean_recall, row.mean_interval)
        assert (found.size_bytes, found.relative_recall) == (row.size_bytes.total, row.relative_recall["student"])
        assert found.pictures == 178
