"""Several graphs and seeds at equal budget, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conaclip_edge.config.graph import GraphConfig, Term
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.evaluate import evaluate, evaluate_with_ranks
from conaclip_edge.evaluation.paired_bootstrap import paired_bootstrap
from conaclip_edge.study.compare import compare, recall_table, train_and_evaluate
from conaclip_edge.study.report import ComparisonReport, SeedsRecall

RESULTS = Path(__file__).parents[2] / "distill" / "results"


@pytest.fixture(scope="module")
def outcome(world: Path, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ComparisonReport]:
    """Two graphs with two seeds each, two steps a run, trained by processes of their own."""
    home = tmp_path_factory.mktemp("compare")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))
        return home, compare(settings(steps=2), ["infonce", "motis"], [0, 1], home, "test", jobs=1)


def test_every_row_is_the_mean_over_its_runs(outcome: tuple[Path, ComparisonReport]) -> None:
    home, found = outcome
    assert (found.n, found.split, found.seeds) == (9, "test", (0, 1))
    for graph, row in found.rows.items():
        assert isinstance(row, SeedsRecall)
        runs = [evaluate(home / f"{graph}-s{seed}", None, "test", "onnx") for seed in (0, 1)]
        means = [run.mean_recall for run in runs]
        assert row.mean_recall == tuple(means)
        assert row.mean == pytest.approx(np.mean(means))
        assert row.spread == pytest.approx(abs(means[0] - means[1]) / np.sqrt(2))
        for way in ("t2i", "i2t"):
            for k, value in row.recall[way].items():
                assert value == pytest.approx(np.mean([run.recall[way][k] for run in runs]))
    values = json.loads(json.dumps(found.model_dump(mode="json")))
    assert values["rows"]["motis"].keys() >= {"mean_recall", "mean", "spread", "recall", "seconds", "parameters"}
    assert ComparisonReport.model_validate(values) == found


def test_every_graph_but_the_first_has_its_difference_to_it_on_the_same_queries(
    outcome: tuple[Path, ComparisonReport],
) -> None:
    home, found = outcome
    first, other = (found.rows[name] for name in ("infonce", "motis"))
    assert isinstance(first, SeedsRecall)
    assert isinstance(other, SeedsRecall)
    assert (first.difference, first.interval_95) == (None, None)
    runs = [
        [evaluate_with_ranks(home / f"{graph}-s{seed}", None, "test", "onnx")[1] for seed in (0, 1)]
        for graph in ("motis", "infonce")
    ]
    assert (other.difference, other.interval_95) == paired_bootstrap(*runs)
    assert other.difference == pytest.approx(other.mean - first.mean)
    line = next(line for line in recall_table(found.rows, found.n, "test").splitlines() if line.startswith("motis"))
    assert f"{other.difference:+.1f} [" in line


def test_all_runs_differ_in_graph_and_seed_alone(outcome: tuple[Path, ComparisonReport]) -> None:
    home, _ = outcome
    recipes = [
        json.loads((home / name / "training.json").read_text("utf-8"))["recipe"] for name in ("infonce-s0", "motis-s1")
    ]
    differing = {key for key in recipes[0] if recipes[0][key] != recipes[1][key]}
    assert differing == {"name", "seed", "graph"}
    weights = {path.read_bytes() for path in home.glob("*/model.safetensors")}
    assert len(weights) == 4


def test_a_finished_run_is_kept_and_one_of_another_recipe_is_not(
    outcome: tuple[Path, ComparisonReport], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, found = outcome
    folder = home / "motis-s1"
    kept = settings().model_validate(json.loads((folder / "training.json").read_text("utf-8"))["recipe"])

    def trains(*_: Any) -> None:
        raise InterruptedError

    monkeypatch.setattr("conaclip_edge.distill.trainer.distill", trains)
    again = train_and_evaluate(kept, folder, "test")
    motis = found.rows["motis"]
    assert isinstance(motis, SeedsRecall)
    assert again.evaluation.mean_recall == motis.mean_recall[1]
    with pytest.raises(InterruptedError):
        train_and_evaluate(kept.model_copy(update={"seed": 7}), folder, "test")


def test_the_table_names_graphs_spread_and_size(outcome: tuple[Path, ComparisonReport]) -> None:
    _, found = outcome
    lines = recall_table(found.rows, found.n, found.split).splitlines()
    assert "n = 9 (test)" in lines[0]
    assert [line.split()[0] for line in lines[1:3]] == ["infonce", "motis"]
    for line, row in zip(lines[1:3], found.rows.values(), strict=True):
        assert f"{row.mean:.1f} +- {row.spread:.1f}" in line


def test_the_table_names_chance_the_teacher_intervals_and_what_9_pictures_cannot_tell(
    outcome: tuple[Path, ComparisonReport],
) -> None:
    _, found = outcome
    lines = recall_table(found.rows, found.n, found.split).splitlines()
    beside = found.rows["infonce"].certainty
    assert beside is not None
    assert beside.teacher_mean_recall is not None
    assert lines[-1].startswith(
        f"chance: {beside.chance:.1f} %; the teacher's mean: {beside.teacher_mean_recall:.1f} %"
    )
    assert all("9 pictures are too few to tell" in line for line in lines[1:3])


def test_a_single_run_has_no_spread(outcome: tuple[Path, ComparisonReport]) -> None:
    _, found = outcome
    row = found.rows["motis"].model_copy(update={"spread": None})
    assert "+-" not in recall_table({"motis": row}, 9, "test")


def test_the_recipe_s_own_graph_is_compared_with_a_preset(settings: Any, tmp_path: Path) -> None:
    own = GraphConfig(terms=(Term(edge="SI-TI", loss="sd"),), queue=8)
    found = compare(settings(steps=1).model_copy(update={"graph": own}), ["infonce", "recipe"], [0], tmp_path, jobs=1)
    recipe = json.loads((tmp_path / "recipe-s0" / "training.json").read_text("utf-8"))["recipe"]
    assert GraphConfig.model_validate(recipe["graph"]) == own
    assert list(found.rows) == ["infonce", "recipe"]
    assert found.recipe["graph"] == own.model_dump(mode="json")


def test_an_unknown_graph_is_named_before_anything_trains(settings: Any) -> None:
    with pytest.raises(UserError, match=r"unknown graph preset 'moits' in --graphs\. Did you mean 'motis'\?"):
        compare(settings(), ["infonce", "moits"], [0], Path("out"))
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["demo", "demo-same-pairs", "openmoji"])
def test_the_committed_comparisons_are_reports(name: str) -> None:
    values = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    report = ComparisonReport.model_validate(values)
    assert report.model_dump(mode="json") == values
    assert all(isinstance(row, SeedsRecall) for row in report.rows.values())


def test_data_without_captions_are_refused_before_anything_trains(settings: Any, world: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for picture in sorted((world / "data").glob("*.png"))[:20]:
        (bare / picture.name).write_bytes(picture.read_bytes())
    recipe = settings()
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": bare})})
    with pytest.raises(UserError, match=r"split 'val' of data set .* has no captions to evaluate with"):
        compare(recipe, ["infonce"], [0], tmp_path / "runs", "val")
