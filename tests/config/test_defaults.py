"""Defaults: a class's are its only ones, a setting changes one key, and what has no default is asked for in a line."""

from __future__ import annotations

import importlib.util
import json
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import conaclip_edge
from conaclip_edge.config.base import Config
from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.load import benchmark_suite, data_config, distill_recipe, study_recipe, teacher_recipe
from conaclip_edge.config.model import StudentConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.targets import export_configs

ROOT = Path(__file__).parents[2]
DEMO: list[Callable[[Path | None, list[str]], Config]] = [distill_recipe, teacher_recipe, study_recipe, benchmark_suite]


def config_classes() -> list[type[Config]]:
    """Every config class of every module that defines one."""
    for module in pkgutil.walk_packages(conaclip_edge.__path__, "conaclip_edge."):
        spec = importlib.util.find_spec(module.name)
        if spec and spec.origin and "(Config)" in Path(spec.origin).read_text("utf-8"):
            importlib.import_module(module.name)
    found = [Config]
    for kind in found:
        found += kind.__subclasses__()
    return sorted(set(found[1:]), key=lambda kind: f"{kind.__module__}.{kind.__qualname__}")


def configs_in(value: object) -> Iterator[Config]:
    """Every config in a value, at any depth."""
    if isinstance(value, Config):
        yield value
        value = dict(value)
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from configs_in(one)


@pytest.mark.parametrize("kind", config_classes(), ids=lambda kind: kind.__name__)
def test_a_default_of_a_group_is_what_the_group_s_class_has_by_itself(kind: type[Config]) -> None:
    for name, field in kind.model_fields.items():
        if not field.is_required():
            for group in configs_in(field.get_default(call_default_factory=True, validated_data={})):
                assert group == type(group)(), f"{kind.__name__}.{name}"


def test_the_walk_finds_a_group_whose_default_is_another() -> None:
    class Inner(Config):
        width: int = 1

    class Outer(Config):
        inner: Inner = Inner()
        many: tuple[Inner, ...] = (Inner(), Inner(width=2))

    assert list(configs_in(Outer())) == [Outer(), Inner(), Inner(), Inner(width=2)]
    assert not [kind for kind in (Inner, Outer) if kind not in config_classes()]


def shipped() -> dict[str, Config]:
    """Every committed recipe, study, suite and target, and the demo's of each command."""
    found: dict[str, Config] = {read.__name__: read(None, []) for read in DEMO}
    for path in sorted((ROOT / "distill/recipes").glob("*.yaml")):
        read = distill_recipe if "\nstudent:" in path.read_text("utf-8") else teacher_recipe
        found[path.stem] = read(path, [])
    found |= {f"study {path.stem}": study_recipe(path, []) for path in (ROOT / "distill/studies").glob("*.yaml")}
    found |= {f"suite {path.stem}": benchmark_suite(path, []) for path in (ROOT / "benchmarks/suites").glob("*.yaml")}
    for path in (ROOT / "export/targets").glob("*.yaml"):
        (found[f"target {path.stem}"],) = export_configs(str(path))
    return found


@pytest.mark.parametrize("config", shipped().values(), ids=shipped())
def test_json_gives_a_config_back(config: Config) -> None:
    written = json.loads(json.dumps(config.model_dump(mode="json")))
    assert type(config).model_validate(written) == config


@pytest.mark.parametrize("kind", config_classes(), ids=lambda kind: kind.__name__)
def test_json_gives_the_defaults_back(kind: type[Config]) -> None:
    if not any(field.is_required() for field in kind.model_fields.values()):
        assert kind.model_validate_json(kind().model_dump_json(by_alias=True)) == kind()


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key that holds no other keys, with its value."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.mark.parametrize("read", DEMO, ids=lambda read: read.__name__)
def test_a_setting_of_the_value_that_a_key_has_changes_nothing(read: Callable[..., Config]) -> None:
    plain = read(None, [])
    keys = list(leaves(plain.model_dump(mode="json")))
    assert len(keys) > 10
    for key, value in keys:
        assert read(None, [f"{key}={json.dumps(value)}"]) == plain, key


@pytest.mark.parametrize("read", [distill_recipe, teacher_recipe], ids=lambda read: read.__name__)
def test_another_fold_has_the_demo_s_shares(read: Callable[..., DistillConfig]) -> None:
    plain = read(None, [])
    assert read(None, ["data.fold=1"]).data == plain.data.model_copy(update={"fold": 1})
    assert (plain.data.test_fraction, plain.data.labelled) == (0.2, 0.25)


def test_student_and_teacher_of_the_demo_have_the_same_data() -> None:
    assert distill_recipe(None, ["data.fold=2"]).data == teacher_recipe(None, ["data.fold=2"]).data


def test_a_recipe_needs_data_and_a_teacher_and_gets_nothing_of_the_demo_s(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("data: {format: imagefolder, path: pictures}\nteacher: someone/clip\n", "utf-8")
    config = distill_recipe(path, [])
    assert config.student == StudentConfig()
    assert (config.student.preset, config.student.freeze_blocks, config.student.vocab.keep) == ("mobile", 0, "all")
    assert (config.data.labelled, config.synthetic.texts, config.train.unpaired_texts) == (1.0, 0, None)


DATA = r"where pictures and captions are, e\.g\. data: \{path: FOLDER\}\.$"


@pytest.mark.parametrize(
    ("read", "text", "line"),
    [
        (distill_recipe, "teacher: t", rf"recipe\.yaml has no 'data': {DATA}"),
        (teacher_recipe, "base: t", rf"recipe\.yaml has no 'data': {DATA}"),
        (study_recipe, "recipe: {teacher: t}", rf"recipe\.yaml has no 'recipe\.data': {DATA}"),
        (study_recipe, "seeds: 2", r"recipe\.yaml has no 'recipe': all runs share it"),
        (
            distill_recipe,
            "data: {format: coco}",
            r"recipe\.yaml has no 'teacher': folder of a teacher, or a hub name; conaclip-edge train-teacher makes ",
        ),
        (
            distill_recipe,
            "data: {path: /d/e}\nteacher: t",
            r"^no file or folder /d/e\. Correct data\.path, or give an a",
        ),
        (
            benchmark_suite,
            "data: {path: /d/e}",
            r"^no file or folder /d/e\. Correct data\.path, or give an absolute pa",
        ),
        (distill_recipe, "data: {fold: 1}\nteacher: t", r"data\.fold is not read by data at a path without data\.form"),
        (
            distill_recipe,
            "invented: {texts: 3}",
            r"^unknown key 'invented' in .*recipe\.yaml \(invented\)\..* Known: cache, data, .*, synthetic, teacher, ",
        ),
        (distill_recipe, "graph: {terms: [{edge: SI-TI}]}\ndata: {format: coco}\nteacher: t", r"no 'graph\.terms\.0\."),
    ],
)
def test_what_a_recipe_lacks_is_asked_for_in_a_line(
    tmp_path: Path, read: Callable[..., Config], text: str, line: str
) -> None:
    (tmp_path / "recipe.yaml").write_text(text, "utf-8")
    with pytest.raises(UserError, match=line) as caught:
        read(tmp_path / "recipe.yaml", [])
    assert str(caught.value).isprintable()


def test_a_file_without_data_is_no_source_of_data(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("seeds: 3\n", "utf-8")
    with pytest.raises(UserError, match=rf"study\.yaml has no 'data': {DATA}"):
        data_config(tmp_path / "study.yaml")


def test_a_suite_takes_other_data_as_an_option(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text("", "utf-8")
    suite = benchmark_suite(None, ["inputs=3"], tmp_path)
    assert suite.data == data_config(tmp_path)
    assert suite.inputs == 3
    assert benchmark_suite(ROOT / "benchmarks/suites/speed.yaml", [], tmp_path).data == tmp_path
