"""What --target, --precision and --set mean; a combination that cannot be is refused with those that can."""

from __future__ import annotations

from pathlib import Path

import pytest

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.targets import TARGETS, default_bundle, export_configs, skipped_targets
from conaclip_edge.runtime.open_tower import RUNTIMES, suffixes_of

FILES = sorted((Path(__file__).parents[2] / "export/targets").glob("*.yaml"))


def test_all_means_each_target_once():
    assert [config.target for config in export_configs("all")] == ["onnx", "executorch", "coreml", "coreai"]


@pytest.mark.parametrize(
    ("precision", "left"),
    [("fp32", ["coreml", "coreai"]), ("fp16", ["executorch"]), ("int8", []), (None, [])],
)
def test_of_all_a_target_that_lacks_the_precision_is_skipped_by_name(precision, left):
    assert {config.target for config in export_configs("all", [], precision)} == set(TARGETS) - set(left)
    skipped = skipped_targets("all", [], precision)
    assert [one.target for one in skipped] == left
    assert all(f"{one.target} is skipped: it has no {precision}" in str(one) for one in skipped)


def test_of_all_a_target_without_packages_for_this_system_is_skipped_with_how_to_get_them(monkeypatch):
    monkeypatch.setattr("conaclip_edge.system.extras.find_spec", lambda module: None)
    assert [config.target for config in export_configs("all")] == ["onnx", "executorch", "coreml"]
    (skipped,) = skipped_targets("all")
    assert str(skipped).startswith("coreai is skipped: this needs coreai, which is not installed.")
    assert "pip install 'conaclip-edge[coreai]'" in str(skipped)


def test_a_target_that_is_named_is_never_skipped():
    assert skipped_targets("executorch", [], "fp16") == []
    assert skipped_targets("all", ["precision=fp16"])[0].target == "executorch"


def test_settings_go_over_the_file_and_precision_over_both(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("target: coreml\nprecision: int8\ndeployment: iOS18\nsmoothing: 0.3\n")
    (config,) = export_configs(str(file), ["smoothing=0.7", "precision=int8"], "fp16")
    assert (config.target, config.precision, config.deployment, config.smoothing) == ("coreml", "fp16", "iOS18", 0.7)


def test_the_batch_is_one_or_dynamic():
    (fixed,), (dynamic,) = export_configs("onnx"), export_configs("onnx", ["batch=dynamic"])
    assert (fixed.batch, dynamic.batch) == (1, "dynamic")
    with pytest.raises(UserError, match="batch"):
        export_configs("onnx", ["batch=8"])


@pytest.mark.parametrize("name", TARGETS)
def test_the_files_of_the_repository_are_the_defaults(name):
    assert export_configs(str(FILES[0].with_name(f"{name}.yaml"))) == [ExportConfig(target=name)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_of_the_repository_can_be_exported(file):
    (config,) = export_configs(str(file))
    assert file.stem.startswith(config.target)


def test_every_target_has_a_runtime_that_opens_its_files_and_no_runtime_is_without_target():
    assert {runtime.target for runtime in RUNTIMES.values()} == set(TARGETS)
    assert suffixes_of("onnx") == (".onnx", ".ort")


WRONG = {
    "unknown target": (("onxx",), r"unknown target 'onxx' in --target\. Did you mean 'onnx'\?"),
    "unknown key": (("onnx", ["presicion=fp16"]), "unknown key 'presicion'.*Did you mean 'precision'"),
    "impossible precision": (
        ("executorch", [], "fp16"),
        "'executorch' has no precision 'fp16'. Known: fp32, int8",
    ),
    "delegate of another": (("onnx", ["backend=coreml"]), "backend 'coreml' is a delegate of executorch"),
    "unknown delegate": (
        ("executorch", ["backend=vulkan"]),
        "unknown backend 'vulkan' in target 'executorch'. Known: coreml, xnnpack",
    ),
    "two targets": (("all", ["target=onnx"]), "--set target=onnx contradicts --target"),
    "too few pairs": (("onnx", ["calibration_pairs=10"]), "'calibration_pairs'.*greater than or equal to 300, got 10"),
    "no file": (("none.yaml",), r"^no target file at none\.yaml\. Correct the path, or name a target"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_with_what_can(case):
    arguments, message = WRONG[case]
    with pytest.raises(UserError, match=message):
        export_configs(*arguments)


def test_the_bundle_lies_beside_the_student(tmp_path):
    assert default_bundle(Path("runs/demo/student")) == Path("runs/demo/bundle")
    assert default_bundle(Path("runs/mine")) == Path("runs/mine.bundle")
    (tmp_path / "demo/student").mkdir(parents=True)
    (tmp_path / "latest").symlink_to(tmp_path / "demo/student")
    assert default_bundle(tmp_path / "latest") == tmp_path / "demo/bundle"


def test_the_page_of_target_files_names_each():
    page = (FILES[0].parents[1] / "README.md").read_text("utf-8")
    for file in FILES:
        assert f"| `targets/{file.name}` |" in page


def test_the_folder_that_one_stands_in_has_a_bundle_beside_it(tmp_path, monkeypatch):
    (tmp_path / "clip").mkdir()
    monkeypatch.chdir(tmp_path / "clip")
    assert default_bundle(Path()) == tmp_path / "clip.bundle"
