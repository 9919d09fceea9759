"""Rows of several machines and phones in one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conaclip_edge.benchmarks.answer.merge import merge_reports
from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.markdown import rows_table, summary
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.errors import UserError
from tests.helpers.benchmarks.pages import read_page
from tests.helpers.benchmarks.sample import device_row, sample_values

PHONE = {
    "label": "Google Pixel 9, Android 16",
    "kind": "phone",
    "cpu": "Tensor G4",
    "isa": ["asimddp", "i8mm"],
    "os": "Android 16",
}
SLUG = "google-pixel-9-android-16"


def phone_values() -> dict[str, Any]:
    values = sample_values()
    rows = values["rows"][:2]
    for row in rows:
        row |= {
            "host": PHONE["label"],
            "recall": None,
            "mean_recall": None,
            "relative_recall": {},
            "alone": {},
            "stages": {},
        }
    return values | {
        "rows": rows,
        "environment": PHONE,
        "dataset": None,
        "ship": None,
        "gallery": [],
        "pictures": {},
        "gallery_row": None,
    }


def merged_report(folder: Path, *values: dict[str, Any]) -> BenchmarkReport:
    return merge_reports([write(folder, f"{number}.json", one) for number, one in enumerate(values)])


def write(folder: Path, name: str, values: dict[str, Any]) -> Path:
    (folder / name).write_text(json.dumps(values), "utf-8")
    return folder / name


def test_rows_of_a_phone_join_those_of_a_host_under_its_name(tmp_path):
    merged = merged_report(tmp_path, sample_values(), phone_values())
    moved, original = merged.row(f"executorch-int8@{SLUG}"), merged.row("executorch-int8")
    assert moved.host == PHONE["label"]
    for tower, latency in original.latency_ms.items():
        renamed = {f"teacher-fp32@{SLUG}": latency.ratio_to["teacher-fp32"]}
        assert moved.latency_ms[tower] == latency.model_copy(update={"ratio_to": renamed})
    assert merged.ship == "executorch-int8"
    assert [machine.label for machine in merged.other_environments] == [PHONE["label"]]
    page = render_html(merged)
    assert page.count(str(PHONE["label"])) >= 3
    assert f"Timed on {PHONE['label']}; no iPhone was timed." in page


def test_no_chart_or_table_gives_a_phone_s_number_without_its_name(tmp_path):
    merged = merged_report(tmp_path, sample_values(), phone_values())
    named = {merged.name(row) for row in merged.rows if row.host == PHONE["label"]}
    assert named == {f"{row.label}, {PHONE['label']}" for row in merged.rows if row.host == PHONE["label"]}
    page = read_page(render_html(merged))
    for chart in page.all("svg"):
        labels = [text.text for text in chart.all("text") if "label" in (text.attributes.get("class") or "").split()]
        assert len(labels) == len(set(labels)), "two rows of a chart have one name"
    firsts = {line[2:].split("  ")[0] for line in summary(merged).splitlines()}
    assert named <= firsts
    cells = [line.split("|")[1].strip() for line in rows_table(merged).splitlines() if line.startswith("|")]
    assert named <= set(cells)


def test_rows_of_training_are_there_once(tmp_path):
    merged = merged_report(tmp_path, sample_values(), sample_values())
    training = [row.id for row in merged.rows if row.group == "training"]
    assert training == ["teacher", "infonce", "motis", "conaclip"]


def test_rows_that_one_machine_gave_of_a_device_keep_their_names(tmp_path):
    row = device_row("onnx-int8", "ONNX int8", 56e6)
    row["on_device"]["text"] = row["on_device"]["image"]
    device = sample_values() | {"rows": [row], "ship": None}
    device["environment"] = device["environment"] | {"load": 0.1, "versions": {"torch": "2.13.0", "qemu": "7.2"}}
    merged = merged_report(tmp_path, sample_values(), device | {"gallery_row": None, "gallery": [], "pictures": {}})
    assert merged.row("onnx-int8-arm64").host == merged.environment.label
    assert merged.other_environments == ()
    assert merged.environment.versions == {"python": "3.11.2", "torch": "2.13.0", "qemu": "7.2"}
    android = next(one for one in merged.platforms if one.platform == "Android")
    assert android.basis == "counted"


def test_two_runs_on_one_machine_stay_apart(tmp_path):
    merged = merged_report(tmp_path, sample_values(), sample_values())
    labels = {merged.environment.label, *(machine.label for machine in merged.other_environments)}
    assert labels == {row.host for row in merged.rows}
    assert len(labels) == 2


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("model", "embedding_space", "ef" * 32, r"b\.json is of another student than .*a\.json \(.* efefefef"),
        (
            "dataset",
            "fingerprint",
            "00" * 32,
            r"b\.json \(openmoji-family/test, 178 pictures, 0+\.\.\) and .*a\.json",
        ),
    ],
    ids=["another student", "other data"],
)
def test_reports_that_compare_unlike_things_do_not_merge(tmp_path, section, key, value, message):
    other = sample_values()
    other[section][key] = value
    paths = [write(tmp_path, "a.json", sample_values()), write(tmp_path, "b.json", other)]
    with pytest.raises(UserError, match=message):
        merge_reports(paths)


def test_no_report_at_all_shows_how():
    with pytest.raises(UserError, match=r"Example: conaclip-edge report host\.json phone\.json"):
        merge_reports([])
