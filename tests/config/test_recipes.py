"""Recipes: the shipped ones are valid and say what the defaults are; settings, folders and the newest run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from conaclip_edge.config.load import benchmark_suite, data_config, distill_recipe, study_recipe, teacher_recipe
from conaclip_edge.config.parse import override
from conaclip_edge.demo.openmoji import emoji_captions
from conaclip_edge.distill.graph import expand
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.presets import student_shape
from conaclip_edge.system.latest_run import latest_run, point_latest

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "distill" / "recipes").glob("*.yaml"))
# without --out a run goes to runs/<name>; runs/demo belongs to the command `demo`
NAMES = {"demo": "student", "demo-teacher": "teacher"}


def is_teacher(path: Path) -> bool:
    return "student" not in yaml.safe_load(path.read_text("utf-8"))


def test_there_are_recipes_of_both_kinds() -> None:
    assert {is_teacher(path) for path in RECIPES} == {True, False}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path: Path) -> None:
    name = NAMES.get(path.stem, path.stem)
    if is_teacher(path):
        assert teacher_recipe(path, []).name == name
        return
    config = distill_recipe(path, [])
    assert config.name == name
    student_shape(config.student)
    assert expand(config.graph)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_says_how_to_run_it(path: Path) -> None:
    comment = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    assert any("conaclip-edge " in line and f"distill/recipes/{path.name}" in line for line in comment)


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("distill/recipes/demo.yaml", distill_recipe),
        ("distill/recipes/demo-teacher.yaml", teacher_recipe),
        ("distill/studies/demo.yaml", study_recipe),
        ("benchmarks/suites/demo.yaml", benchmark_suite),
    ],
)
def test_without_a_recipe_the_demo_s_is_taken(path: str, read: Any) -> None:
    assert read(ROOT / path, []) == read(None, [])
    assert ROOT / "conaclip_edge/config/demo" in (ROOT / path).resolve().parents  # one file, which the wheel has


def test_a_setting_changes_the_demo_s_recipe_for_that_call_alone() -> None:
    assert distill_recipe(None, ["synthetic.texts=5", "train.steps=3"]).synthetic.texts == 5
    assert (distill_recipe(None, []).synthetic.texts, distill_recipe(None, []).train.steps) == (12_000, 200)


def test_the_demo_s_data_are_those_of_the_package() -> None:
    data = distill_recipe(None, []).data
    assert data.format == "openmoji"
    assert data == teacher_recipe(None, []).data
    assert round(len(emoji_captions()) * data.test_fraction) > 200  # enough for a table


def test_settings_change_single_keys_and_are_read_as_yaml() -> None:
    values = override(
        {"train": {"steps": 3, "lr": 0.1}},
        ["train.steps=5", "graph.terms=[{edge: SI-TI, loss: fd}]", "name=007x", "student.vocab.keep=corpus", "seed=2"],
    )
    assert values == {
        "train": {"steps": 5, "lr": 0.1},
        "graph": {"terms": [{"edge": "SI-TI", "loss": "fd"}]},
        "name": "007x",
        "student": {"vocab": {"keep": "corpus"}},
        "seed": 2,
    }
    assert override({}, ["a=b=c"]) == {"a": "b=c"}


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("metadata.jsonl", "imagefolder"),
        ("train/metadata.csv", "imagefolder"),
        ("00000.tar", "webdataset"),
        ("data/train-00000.parquet", "parquet"),
    ],
)
def test_a_folder_s_format_is_found_by_what_lies_in_it(tmp_path: Path, file: str, kind: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"")
    config = data_config(tmp_path)
    assert (config.format, config.path) == (kind, tmp_path)


def test_a_recipe_s_data_section_is_taken_alone(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("name: x\ndata: {format: coco, path: /data/coco}\nexport: {unknown: 1}\n", "utf-8")
    assert data_config(file).format == "coco"
    file.write_text("data: {fromat: coco}\n", "utf-8")
    with pytest.raises(UserError, match=r"unknown key 'fromat' in .*recipe\.yaml \(data\).*Did you mean 'format'\?"):
        data_config(file)


def test_a_folder_without_data_is_reported(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^no data set at .*: a recipe \(YAML with a data section\) is needed, or a fol"
    ):
        data_config(tmp_path)


def test_the_newest_run_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no checkpoint was given and runs/latest does not exist\. Make one: conaclip"):
        latest_run()
    for name in ("runs/one", "elsewhere/two"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}", "utf-8")
        point_latest(Path(name))
        assert latest_run() == (tmp_path / name).resolve()
    moved = tmp_path.rename(tmp_path.with_name("moved"))  # the link is relative
    monkeypatch.chdir(moved)
    assert latest_run() == (moved / "elsewhere/two").resolve()


def test_a_folder_of_the_user_s_is_not_replaced_by_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/latest").mkdir(parents=True)
    with pytest.raises(UserError, match="runs/latest is a folder; it is reserved for the newest run"):
        point_latest(Path("runs/one"))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["latest"]


def test_a_recipe_stands_for_the_default_study_of_it() -> None:
    folder = ROOT / "distill"
    study = study_recipe(folder / "studies" / "demo.yaml", ["seeds=2", "recipe.train.steps=5"])
    assert (study.seeds, study.recipe.train.steps, len(study.sizes)) == (2, 5, 3)
    plain = study_recipe(folder / "recipes" / "demo.yaml", ["seeds=1"])
    assert plain.recipe == distill_recipe(folder / "recipes" / "demo.yaml", [])
    with pytest.raises(UserError, match=r"unknown key 'sedes' in the demo's study \(sedes\)\. Did you mean 'seeds'\?"):
        study_recipe(None, ["sedes=1"])


def test_a_key_that_holds_a_terminals_code_is_shown_on_one_line_and_not_obeyed(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text('"batch\\e[31m\\nsize": 3\n', "utf-8")
    with pytest.raises(UserError, match=r"unknown key 'batch\\x1b\[31m\\nsize'") as caught:
        distill_recipe(recipe, [])
    assert str(caught.value).isprintable()
