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
from conaclip_edge.config.study import StudyConfig
from conaclip_edge.distill.graph import PRESETS, expand
from conaclip_edge.distill.supervisions import SUPERVISIONS
from conaclip_edge.errors import Interrupted, UserError
from conaclip_edge.study import one_run as study_run
from conaclip_edge.study import study as module
from conaclip_edge.study.cells import all_cells, graph_of
from conaclip_edge.study.page import render_study, write_study
from conaclip_edge.study.scheduler import file_name
from conaclip_edge.study.statistics import candidates
from conaclip_edge.study.text import study_table


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do the runs in the test's process: test_compare has real ones."""

    @contextmanager
    def here(jobs: int) -> Iterator[Any]:
        def run(function: Callable[..., Any], tasks: Mapping[Any, tuple[Any, ...]]) -> Iterator[Any]:
            for key, arguments in tasks.items():
                yield key, function(*arguments)

        yield run

    monkeypatch.setattr(module, "side_by_side", here)


def config(settings: Any, **changes: Any) -> StudyConfig:
    return StudyConfig(**({"recipe": settings(steps=1), "seeds": 1, "cells": ("intra-ts/fd",), "most": 0} | changes))


@pytest.fixture(scope="module")
def finished(
    world: Path, settings: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, StudyConfig, dict[str, Any]]]:
    """A study whose only cell always stays, with one factor a sweep and a second size; each run one step."""
    home = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))
        patch.setattr(module, "side_by_side", _plain)
        patch.setattr(module, "candidates", lambda rows: list(rows))
        patch.setattr(module, "summary", _rising(module.summary))
        wide = {"name": "<wide>", "student": {"text": {"width": 48, "mlp": 48}}}
        asked = config(settings, most=1, temperatures=(2.0,), weights=(0.5,), sizes=(wide,), seeds=2)
        yield home, asked, write_study(module.study(asked, home), home)


@contextmanager
def _plain(jobs: int) -> Iterator[Any]:
    yield lambda function, tasks: ((key, function(*arguments)) for key, arguments in tasks.items())


def _rising(real: Any) -> Any:
    """Let every later row have a higher mean than the one before, so that the path keeps its cell."""
    rows: list[dict[str, Any]] = []

    def made(*arguments: Any) -> dict[str, Any]:
        rows.append(real(*arguments) | {"mean": float(len(rows))})
        return rows[-1]

    return made


def test_the_cells_are_every_meaningful_combination_and_no_other() -> None:
    every = {"infonce", "fd", "sd", "kl", "sym-sd", "sym-kl"}
    meaningful = {"intra-ts": every, "inter-ts": every, "intra-ss": every - {"infonce", "fd"}}
    meaningful["inter-ss"] = {"fd", "sd", "kl"}  # its InfoNCE is the baseline
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
    rows = {
        "a": {"mean": 3.0, "interval_95": [0.1, 2]},
        "b": {"mean": 9.0, "interval_95": [-0.1, 9]},
        "c": {"mean": 5.0, "interval_95": [0.5, 4]},
        "d": {"mean": 1.0, "interval_95": [-3, -1]},
    }
    assert candidates(rows) == ["c", "a"]


def test_a_cell_stays_on_the_path_only_if_the_mean_rises(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    means = {"a": 3.0, "a b": 2.9, "a c": 4.0}

    class Bench:
        def outcomes(self, graphs: dict[str, Any]) -> dict[str, Any]:
            (name,) = graphs
            added = [f"{term.edge}/{term.loss}" for term in graphs[name].graph.terms[1:]]
            return {name: " ".join(short[cell] for cell in added)}

    short = {"intra-ts/fd": "a", "inter-ts/kl": "b", "inter-ss/kl": "c"}
    monkeypatch.setattr(module, "summary", lambda outcomes, *_: {"mean": means[outcomes]})
    bench: Any = Bench()
    path, kept, row = module._path(config(settings), list(short), bench, [], {"inter-ss/infonce": {"mean": 1.0}})
    assert [step["kept"] for step in path] == [True, False, True]
    assert kept == ["intra-ts/fd", "inter-ss/kl"]
    assert row == {"mean": 4.0}
    assert [step["gain"] for step in path] == pytest.approx([2.0, -0.1, 1.0])


def test_a_killed_study_goes_on_without_doing_a_finished_run_again(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real = study_run.do_run

    def stops(asked: Any, splits: Any, key: Any, file: Path) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(file.stem)
        return real(asked, splits, key, file)

    monkeypatch.setattr("conaclip_edge.study.scheduler.do_run", stops)
    with pytest.raises(Interrupted, match=r"^interrupted; 2 finished runs are kept in out/cells\. The same command"):
        module.study(config(settings), Path("out"))
    first, done[:] = list(done), ["", "", ""]
    found = module.study(config(settings), Path("out"))
    assert not set(first) & set(done)
    assert found["runs"] == {"all": 6, "done_now": 4}
    done.clear()
    changed = config(settings, recipe=settings(steps=1, lr=0.002))
    with pytest.raises(Interrupted, match="interrupted; 2 finished"):  # a changed recipe is done again
        module.study(changed, Path("out"))
    assert done == first
    assert not list(Path("out").rglob("*.safetensors"))


def test_a_broken_outcome_is_done_again(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    for text in ("{", "[]", '{"key": {"recipe": 1}}'):
        file.write_text(text, "utf-8")
        assert study_run.kept_run(file, {"recipe": 2}) is None
    assert study_run.kept_run(file, {"recipe": 1}) is not None


def test_a_run_that_fails_names_its_cell(settings: Any) -> None:
    asked = config(settings, recipe=settings(steps=1, lr=1e30))
    asked = asked.model_copy(update={"recipe": settings(steps=3, lr=1e30)})
    with pytest.raises(UserError, match=r"^run val-inter-ss_infonce-s0: loss .* at step"):
        module.study(asked, Path("out"))


def test_test_is_seen_by_the_runs_of_the_last_table_alone(
    finished: tuple[Path, StudyConfig, dict[str, Any]],
) -> None:
    home, _, found = finished
    looked = {
        path.stem: "test" in json.loads(path.read_text("utf-8"))["splits"] for path in (home / "cells").glob("*.json")
    }
    assert {name for name, at_test in looked.items() if at_test} == {
        f"test-{name}-s{seed}" for name in ("baseline", "final", "motis", "conaclip") for seed in (0, 1)
    }
    assert found["test"]["final"]["test"]["recall"].keys() == {"t2i", "i2t"}
    assert found["dataset"]["test"] == {"pictures": 9, "captions": 18}


def test_the_result_has_path_sweeps_and_sizes_of_the_final_graph(
    finished: tuple[Path, StudyConfig, dict[str, Any]],
) -> None:
    home, _, found = finished
    assert json.loads((home / "study.json").read_text("utf-8")) == json.loads(json.dumps(found))
    assert found["final"]["cells"] == ["intra-ts/fd"]
    assert [one["factor"] for one in found["sweeps"]["temperature"]] == [1.0, 2.0]
    assert [one["factor"] for one in found["sweeps"]["weight"]] == [0.5, 1.0]
    own, wide = found["sizes"]
    assert (own["name"], wide["name"]) == ("recipe", "<wide>")
    assert wide["parameters"] > own["parameters"]
    assert found["environment"]["cpu"]
    assert "final graph: baseline + intra-ts/fd" in study_table(found, home)


def test_the_page_escapes_names_and_asks_for_nothing(finished: tuple[Path, StudyConfig, dict[str, Any]]) -> None:
    home, _, found = finished
    page = (home / "study.html").read_text("utf-8")
    assert "&lt;wide&gt;" in page
    assert "<wide>" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    named = render_study(found | {"name": "<img src=x>"})
    assert "<img" not in named
    for row in found["cells"].values():
        assert f"<b>{row['mean']:.1f}</b>" in page


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
def test_a_wrong_study_is_told_before_anything_trains(settings: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        module.study(config(settings, **changes), Path("out"))
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

    monkeypatch.setattr(module, "study", stop)
    CliRunner().invoke(app, ["study", "--seeds", "2", "--budget", "7", "--set", "recipe.train.batch_size=5"])
    (config,) = asked
    assert (config.seeds, config.recipe.train.steps, config.recipe.train.batch_size) == (2, 7, 5)
