"""The study: its cells, its statistic, going on after a kill, its rule, its page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from conaclip_edge.cli.main import app
from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.graph import PRESETS
from conaclip_edge.config.study import StudyConfig
from conaclip_edge.distill.graph import expand
from conaclip_edge.distill.supervisions import SUPERVISIONS
from conaclip_edge.errors import Interrupted, UserError
from conaclip_edge.study.cells import all_cells, graph_of
from conaclip_edge.study.one_run import RunOutcome, SplitRanks, kept_run
from conaclip_edge.study.page import render_study, write_study
from conaclip_edge.study.report import GraphStatistics, RunCounts, SplitSize, StudyReport
from conaclip_edge.study.scheduler import file_name
from conaclip_edge.study.stages import Stages
from conaclip_edge.study.statistics import candidates
from conaclip_edge.study.study import study
from conaclip_edge.study.text import study_table
from conaclip_edge.system.files import write_json

RESULTS = Path(__file__).parents[2] / "distill" / "results"


@contextmanager
def here(jobs: int) -> Iterator[Any]:
    """Do the runs in the test's process: test_compare has processes of their own."""
    yield lambda function, tasks: ((key, function(*arguments)) for key, arguments in tasks.items())


@contextmanager
def always_better(jobs: int) -> Iterator[Any]:
    """Do the runs here; the baseline then finds nothing and every other graph everything, so that its cell stays."""

    def run(function: Callable[..., Any], tasks: Mapping[Any, tuple[Any, ...]]) -> Iterator[Any]:
        for key, arguments in tasks.items():
            outcome, recipe = function(*arguments), arguments[0]
            rank = 100 if recipe.graph.terms == PRESETS["infonce"] else 1
            splits = {
                split: ranks.model_copy(update={way: (rank,) * len(getattr(ranks, way)) for way in ("t2i", "i2t")})
                for split, ranks in outcome.splits.items()
            }
            outcome = outcome.model_copy(update={"splits": splits})
            write_json(arguments[-1], outcome.model_dump(mode="json"))
            yield key, outcome

    yield run


def config(settings: Any, **changes: Any) -> StudyConfig:
    return StudyConfig(**({"recipe": settings(steps=1), "seeds": 1, "cells": ("intra-ts/fd",), "most": 0} | changes))


@pytest.fixture(scope="module")
def finished(
    world: Path, settings: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, StudyReport]]:
    """A study whose only cell stays, with one factor per sweep and a second size; each run one step."""
    home = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))
        wide = {"name": "<wide>", "student": {"text": {"width": 48, "mlp": 48}}}
        asked = config(settings, most=1, temperatures=(2.0,), weights=(0.5,), sizes=(wide,), seeds=2)
        report = study(asked, home, workers=always_better)
        write_study(report, home)
        yield home, report


def statistics(mean: float, low: float = 0.0, high: float = 0.0) -> GraphStatistics:
    return GraphStatistics(
        mean=mean, recall={}, mean_recall=(mean,), difference=0.0, interval_95=(low, high), seconds=(1.0,)
    )


def outcome(mean: float) -> RunOutcome:
    """The outcome of a run that finds so many percent of 1,000 pictures, at every k."""
    ranks = [1 if number < 10 * mean else 100 for number in range(1000)]
    ranked = SplitRanks(t2i=tuple(ranks), i2t=tuple(ranks), caption_to_image=tuple(range(1000)))
    return RunOutcome(key={"recipe": 1}, seconds=1.0, parameters=1, splits={"val": ranked})


def test_the_cells_are_every_meaningful_combination_and_no_other() -> None:
    every = {"infonce", "sigmoid", "fd", "sd", "kl", "sym-sd", "sym-kl"}
    meaningful = {"intra-ts": every, "inter-ts": every, "intra-ss": every - {"infonce", "sigmoid", "fd"}}
    meaningful["inter-ss"] = {"sigmoid", "fd", "sd", "kl"}  # its InfoNCE is the baseline
    assert sorted(all_cells()) == sorted(f"{kind}/{loss}" for kind, losses in meaningful.items() for loss in losses)
    for cell in all_cells():
        terms = graph_of((cell,)).terms
        assert terms[0] == PRESETS["infonce"][0]
        assert [f"{term.edge}/{term.loss}" for term in terms[1:]] == [cell]
        assert expand(graph_of((cell,)))


def test_cells_are_added_with_the_weights_and_temperatures_of_the_graph_of_all_types() -> None:
    for term in PRESETS["all-types"][1:]:
        own = SUPERVISIONS[term.loss]
        assert (own.weight, own.temperature) == (term.weight, term.temperature)


def test_factors_reach_what_was_added_and_not_the_baseline() -> None:
    base, fd, kl = graph_of(("inter-ts/kl", "intra-ts/fd"), temperature=2.0, weight=0.5).terms
    assert base == PRESETS["infonce"][0]
    assert (fd.weight, fd.temperature) == (2.5, None)
    assert (kl.weight, kl.temperature) == (0.5, 0.1)


def test_candidates_are_cells_that_surely_help_the_best_first() -> None:
    cells = {
        "a": statistics(3.0, 0.1, 2.0),
        "b": statistics(9.0, -0.1, 9.0),
        "c": statistics(5.0, 0.5, 4.0),
        "d": statistics(1.0, -3.0, -1.0),
    }
    assert candidates(cells) == ["c", "a"]


def test_a_cell_stays_on_the_path_only_if_the_mean_rises(settings: Any) -> None:
    short = {"intra-ts/fd": "a", "inter-ts/kl": "b", "inter-ss/kl": "c"}
    means = {"": 1.0, "a": 3.0, "a b": 2.9, "a c": 4.0}

    class Means:
        def train(self, recipes: Mapping[str, DistillConfig], *_: Any) -> dict[str, list[RunOutcome]]:
            added = {
                name: [short[f"{term.edge}/{term.loss}"] for term in recipe.graph.terms[1:]]
                for name, recipe in recipes.items()
            }
            return {name: [outcome(means[" ".join(cells)])] for name, cells in added.items()}

    stages = Stages(config(settings, bootstrap=10), Means())
    baseline, _ = stages.table(())
    path, kept, best = stages.path(list(short), baseline)
    assert [step.kept for step in path] == [True, False, True]
    assert kept == ["intra-ts/fd", "inter-ss/kl"]
    assert best.mean == pytest.approx(4.0)
    assert [step.gain for step in path] == pytest.approx([2.0, -0.1, 1.0])


def test_a_killed_study_goes_on_without_doing_a_finished_run_again(settings: Any) -> None:
    done: list[str] = []
    most = 2

    @contextmanager
    def stops(jobs: int) -> Iterator[Any]:
        def run(function: Callable[..., Any], tasks: Mapping[Any, tuple[Any, ...]]) -> Iterator[Any]:
            for key, arguments in tasks.items():
                if len(done) == most:
                    raise KeyboardInterrupt
                done.append(arguments[-1].stem)
                yield key, function(*arguments)

        yield run

    with pytest.raises(Interrupted, match=r"^interrupted; 2 finished runs are kept in out/cells\. The same command"):
        study(config(settings), Path("out"), workers=stops)
    first, done[:], most = list(done), [], 99
    found = study(config(settings), Path("out"), workers=stops)
    assert not set(first) & set(done)
    assert found.runs == RunCounts(all=6, done_now=4)
    done.clear()
    most = 2
    changed = config(settings, recipe=settings(steps=1, lr=0.002))
    with pytest.raises(Interrupted, match="interrupted; 2 finished"):  # a changed recipe is done again
        study(changed, Path("out"), workers=stops)
    assert done == first
    assert not list(Path("out").rglob("*.safetensors"))


def test_a_broken_outcome_is_done_again(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    for text in ("{", "[]", '{"key": {"recipe": 1}}'):
        file.write_text(text, "utf-8")
        assert kept_run(file, {"recipe": 2}) is None
        assert kept_run(file, {"recipe": 1}) is None
    file.write_text(outcome(1.0).model_dump_json(), "utf-8")
    assert kept_run(file, {"recipe": 2}) is None
    assert kept_run(file, {"recipe": 1}) == outcome(1.0)


def test_a_run_that_fails_names_its_cell(settings: Any) -> None:
    asked = config(settings, recipe=settings(steps=1, lr=1e30))
    asked = asked.model_copy(update={"recipe": settings(steps=3, lr=1e30)})
    with pytest.raises(UserError, match=r"^run val-inter-ss_infonce-s0: loss .* at step"):
        study(asked, Path("out"), workers=here)


def test_test_is_seen_by_the_runs_of_the_last_table_alone(finished: tuple[Path, StudyReport]) -> None:
    home, report = finished
    looked = {
        path.stem: "test" in json.loads(path.read_text("utf-8"))["splits"] for path in (home / "cells").glob("*.json")
    }
    assert {name for name, at_test in looked.items() if at_test} == {
        f"test-{name}-s{seed}" for name in ("baseline", "final", "motis", "conaclip") for seed in (0, 1)
    }
    assert report.test["final"].test.recall.keys() == {"t2i", "i2t"}
    assert report.dataset.test == SplitSize(pictures=9, captions=18)


def test_the_result_has_path_sweeps_and_sizes_of_the_final_graph(finished: tuple[Path, StudyReport]) -> None:
    home, report = finished
    assert StudyReport.model_validate(json.loads((home / "study.json").read_text("utf-8"))) == report
    assert report.final.cells == ("intra-ts/fd",)
    assert [step.factor for step in report.sweeps.temperature] == [1.0, 2.0]
    assert [step.factor for step in report.sweeps.weight] == [0.5, 1.0]
    own, wide = report.sizes
    assert (own.name, wide.name) == ("recipe", "<wide>")
    assert wide.parameters > own.parameters
    assert report.environment.cpu
    assert "final graph: baseline + intra-ts/fd" in study_table(report, home)


def test_the_page_escapes_names_and_asks_for_nothing(finished: tuple[Path, StudyReport]) -> None:
    home, report = finished
    page = (home / "study.html").read_text("utf-8")
    assert "&lt;wide&gt;" in page
    assert "<wide>" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    named = render_study(report.model_copy(update={"name": "<img src=x>"}))
    assert "<img" not in named
    for row in report.cells.values():
        assert f"<b>{row.mean:.1f}</b>" in page


def test_the_committed_study_is_a_report_that_page_and_table_show() -> None:
    values = json.loads((RESULTS / "study.json").read_text("utf-8"))
    report = StudyReport.model_validate(values)
    # its recipe lacks the keys that came later
    assert report.model_dump(mode="json", by_alias=True, exclude={"config"}) == without(values, "config")
    page, table = render_study(report), study_table(report, RESULTS)
    for cell, row in values["cells"].items():
        assert f"<b>{row['mean']:.1f}</b>" in page
        assert f"+ {cell}" in table


def without(values: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": ("intra-ts/sdd",)}, r"unknown cell 'intra-ts/sdd' in the study \(cells\)\. Did you mean 'intra-ts/"),
        ({"cells": ("intra-ss/fd",)}, r"unknown cell 'intra-ss/fd'.*Known: .*inter-ss/fd"),
        (
            {"sizes": ({"name": "a", "student": {"txt": {}}},)},
            r"unknown key 'txt' in the study \(sizes, a\).*Did you mean 'text'\?",
        ),
        ({"sizes": ({"name": "a"}, {"name": "a"})}, r"the study \(sizes\) has a name twice"),
    ],
)
def test_a_wrong_study_is_named_before_anything_trains(settings: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        study(config(settings, **changes), Path("out"), workers=here)
    assert not Path("out").exists()


def test_names_give_files_that_do_not_collide() -> None:
    names = [
        "intra-ts/fd",
        "intra-ts_fd",
        "path " + " + ".join(all_cells()),
        "path " + " + ".join(all_cells()[1:]),
        "ß",
    ]
    files = {file_name("val", name) for name in names}
    assert len(files) == len(names)
    assert all(len(name) < 70 and "/" not in name and name.isascii() for name in files)


def test_seeds_and_budget_of_the_command_reach_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[StudyConfig] = []

    def stop(config: StudyConfig, out: Path, jobs: int | None) -> None:
        asked.append(config)
        raise UserError("enough")

    monkeypatch.setattr("conaclip_edge.study.study.study", stop)
    changes = ("--set", "recipe.train.batch_size=5", "--set", "recipe.teacher=some/hub-name")
    CliRunner().invoke(app, ["study", "--seeds", "2", "--budget", "7", *changes])
    (config,) = asked
    assert (config.seeds, config.recipe.train.steps, config.recipe.train.batch_size) == (2, 7, 5)
