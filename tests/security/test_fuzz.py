"""Whatever bytes the package is given, it gives a result or an error of one line, in bounded time and memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.security.changes import change
from tests.security.limits import limited
from tests.security.parsers import PARSERS
from tests.security.subject import Subject, outcome

CORPUS = Path(__file__).parent / "corpus"
TESTED = [name for name, parser in PARSERS.items() if not parser.native]
ERRORS = json.loads((CORPUS / "errors.json").read_text("utf-8"))


@contextmanager
def current(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Subject]]:
    """A function that prepares the folder of a parser, once."""
    known: dict[str, tuple[Path, Subject]] = {}

    def make(name: str) -> tuple[Path, Subject]:
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            with current(folder):
                known[name] = folder, PARSERS[name].make()
        return known[name]

    return make


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", "")  # the readers' own is set by the parsers; this brings the old one back


YAML_KINDS = (b"a: !!omap [b: 1]", b"a: !!pairs [b: 1]", b"a: !!set {b, c}", b"a: !!binary aGk=", b"a: 2001-01-01")


@pytest.mark.parametrize("document", YAML_KINDS, ids=bytes.decode)
def test_every_kind_of_yaml_value_can_be_changed(document: bytes) -> None:
    assert len({change(Random(seed), [document], "yaml") for seed in range(300)}) > 50


@pytest.mark.parametrize("name", TESTED)
def test_a_valid_file_is_read_without_an_error(name, made):
    folder, subject = made(name)
    with current(folder):
        for seed in subject.seeds:
            assert outcome(subject, seed) == ""


@pytest.mark.parametrize("name", TESTED)
def test_changed_bytes_give_a_result_or_an_error_of_one_line(name, made):
    folder, subject = made(name)

    @settings(
        max_examples=PARSERS[name].examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def holds(random: Random) -> None:
        data = change(random, subject.seeds, PARSERS[name].kind)
        with limited():
            outcome(subject, data)

    with current(folder):
        holds()


CASES = sorted(str(path.relative_to(CORPUS)) for path in CORPUS.glob("*/*"))


@pytest.mark.parametrize("case", CASES)
def test_a_case_that_was_found_once_gives_its_error(case, made):
    folder, subject = made(case.split("/")[0])
    with current(folder), limited():
        assert outcome(subject, (CORPUS / case).read_bytes()) == ERRORS[case]


@pytest.mark.parametrize("name", TESTED)
def test_changes_do_change_the_files_of(name, made):
    _, subject = made(name)
    changed = [change(Random(number), subject.seeds, PARSERS[name].kind) for number in range(20)]
    assert sum(data not in subject.seeds for data in changed) > 10
    assert changed == [change(Random(number), subject.seeds, PARSERS[name].kind) for number in range(20)]
