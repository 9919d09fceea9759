"""The filters of the page that `serve` shows: what the server takes, and what the controls do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from conaclip_edge.search.commands import index_pictures
from conaclip_edge.search.query import open_searcher
from conaclip_edge.web.server.app import make_app
from tests.helpers.devtools import Browser
from tests.helpers.search.small_index import write_bundle, write_pictures
from tests.web.server.conftest import listening

DAY = 86_400 * 10**9
SHOWN = "document.getElementById('{}').textContent"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Starlette:
    """A server of nine pictures in three folders; red-3.png is of 2022-01-08."""
    home = tmp_path_factory.mktemp("filters")
    bundle, pictures = write_bundle(home / "bundle"), write_pictures(home / "pictures", 9)
    os.utime(pictures / "red-3.png", ns=(DAY, 19_000 * DAY))
    index_pictures(bundle, pictures, home / "index")
    return make_app(open_searcher(home / "index"), bundle, "127.0.0.1")


@pytest.fixture(scope="module")
def client(app: Starlette) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8000")


@pytest.fixture(scope="module")
def filtered(app: Starlette) -> Iterator[str]:
    """Where that server listens."""
    with listening(app) as address:
        yield address


@pytest.fixture
def page(tab: Browser, filtered: str) -> Browser:
    tab.logged.clear()
    tab.open(f"{filtered}/")
    return tab


GIVEN: list[tuple[dict[str, str], set[str]]] = [
    ({"folder": "sub/deep"}, {"blue-2.png", "blue-5.png", "blue-8.png"}),
    ({"folder": "./sub/", "file": "GREEN"}, {"green-1.png", "green-4.png", "green-7.png"}),
    ({"file": "*-[12].png"}, {"green-1.png", "blue-2.png"}),
    ({"after": "2022", "before": "2022-02"}, {"red-3.png"}),
    ({"after": "2022-01-01", "before": "2022"}, set()),
    ({"folder": "nowhere"}, set()),
]


@pytest.mark.parametrize(("given", "wanted"), GIVEN)
def test_the_server_takes_the_filters_of_the_command(given: dict[str, str], wanted: set[str], client: Any) -> None:
    found = client.post("/search", params={"text": "red", "all": "1", **given}).json()
    assert {Path(hit["name"]).name for hit in found["hits"]} == wanted
    assert found["notes"] == ([] if wanted else ["no picture passes the filters."])
    first = client.get("/about", params=given).json()
    assert {Path(one["name"]).name for one in first["sample"]} == wanted
    assert first["count"] == 9


@pytest.mark.parametrize("least", ["0.5", ".5", "0,5", "+0.5"])
def test_a_least_score_leaves_out_what_is_below(least: str, client: Any) -> None:
    found = client.post("/search", params={"text": "red", "min_score": least}).json()["hits"]
    assert {Path(hit["name"]).name.split("-")[0] for hit in found} == {"red"}
    assert min(hit["score"] for hit in found) >= 0.5


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"after": "yesterday"}, "'yesterday' in “Changed since” is no date. Write 2024-07-01, 2024-07 or 2024."),
        ({"before": "2024-02-30"}, "'2024-02-30' in “Changed before” is no date. Write 2024-07-01, 2024-07 or 2024."),
        ({"min_score": "nan"}, "'nan' in “Least score” is no number. Write it like 0.25."),
        ({"min_score": "0.2.5"}, "'0.2.5' in “Least score” is no number. Write it like 0.25."),
    ],
)
def test_what_is_no_date_or_number_is_one_line_that_names_the_field(given: dict[str, str], line: str, client: Any):
    answer = client.post("/search", params={"text": "red", **given})
    assert (answer.status_code, answer.json()) == (400, {"error": line})
    if "min_score" not in given:
        answer = client.get("/about", params=given)
        assert (answer.status_code, answer.json()) == (400, {"error": line})


def write(page: Browser, name: str, text: str) -> None:
    """Type into a filter as a person does, and wait for what comes of it."""
    page.run(f"document.querySelector('#filters [name={name}]').select()")
    page.run("document.getElementById('status').textContent = '...'")
    page.type(text)
    page.until("document.getElementById('status').textContent !== '...'")


def test_closed_filters_show_and_take_nothing_and_the_button_opens_them(page: Browser) -> None:
    seen = "[...document.querySelectorAll('#filters *')].some((one) => one.checkVisibility())"
    assert not page.run(seen)
    button = "document.getElementById('filters-button')"
    assert page.run(f"{button}.getAttribute('aria-expanded')") == "false"
    page.run(f"{button}.click()")
    assert page.run(seen)
    assert page.run(f"{button}.getAttribute('aria-expanded')") == "true"
    assert page.run("document.activeElement.name") == "folder"
    labels = "[...document.querySelectorAll('#filters input')].map((one) => one.labels[0].textContent.trim())"
    assert page.run(labels) == ["Folder", "File name", "Changed since", "Changed before", "Least score"]
    page.type("a/b")
    page.press("/")
    assert page.run("document.activeElement.value") == "a/b/", "a slash is a part of a folder"
    page.press("Escape")
    assert not page.run(seen)
    assert page.run("document.activeElement.id") == "filters-button"


def test_filters_work_with_a_query_and_without_and_are_kept_in_the_address(page: Browser, filtered: str) -> None:
    page.run("document.getElementById('filters-button').click()")
    write(page, "folder", "sub/deep")
    assert {name.split("-")[0] for name, _ in page.results()} == {"blue"}
    assert page.run(SHOWN.format("status")).startswith("The first 3 that pass the filters of 9 pictures")
    found = page.search("red")
    assert {name.split("-")[0] for name, _ in found} == {"blue"}
    assert page.run(SHOWN.format("status")).startswith("3 nearest of 9, filtered")
    write(page, "name", "*-5.*")
    assert [name for name, _ in page.results()] == ["blue-5"]
    assert page.run(SHOWN.format("filters-button")) == "Filters (2)"
    address = page.run("location.href")
    assert address == f"{filtered}/#q=red&folder=sub%2Fdeep&name=*-5.*"
    page.open(address)
    assert [name for name, _ in page.results()] == ["blue-5"]
    assert page.run(SHOWN.format("filters-button")) == "Filters (2)"
    assert page.run("document.getElementById('filters').hidden")
    page.run("document.getElementById('filters-button').click()")
    page.run("document.getElementById('filters-clear').click()")
    page.until("document.querySelectorAll('#results li').length > 1")
    assert page.run("location.href") == f"{filtered}/#q=red"
    assert page.run(SHOWN.format("filters-button")) == "Filters"


def test_a_half_typed_date_asks_nothing_and_a_wrong_one_is_one_line(page: Browser) -> None:
    page.run("document.getElementById('filters-button').click()")
    page.run("document.querySelector('#filters [name=after]').select()")
    for key in "2022-0":
        page.press(key)
    page.run("new Promise((found) => setTimeout(found, 400))")
    assert page.run("document.getElementById('error').hidden")
    page.press("1")
    page.until("document.getElementById('status').textContent.startsWith('The first 9 that pass')")
    page.run("document.querySelector('#filters [name=after]').select()")
    page.type("yesterday")
    page.run("document.getElementById('form').requestSubmit()")
    page.until("!document.getElementById('error').hidden")
    assert page.run(SHOWN.format("error")) == (
        "'yesterday' in “Changed since” is no date. Write 2024-07-01, 2024-07 or 2024."
    )


def test_nothing_that_passes_is_said(page: Browser) -> None:
    page.run("document.getElementById('filters-button').click()")
    write(page, "folder", "nowhere")
    assert page.results() == []
    assert page.run(SHOWN.format("status")) == "None of 9 pictures passes the filters."
    assert page.search("red") == []
    assert page.run(SHOWN.format("notes")) == "No picture passes the filters."


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False), (1280, True)])
def test_open_filters_fit_and_can_be_read(width: int, dark: bool, tab: Browser, filtered: str) -> None:
    tab.open(f"{filtered}/#q=red&folder=sub", width, dark=dark)
    tab.run("document.getElementById('filters-button').click()")
    found = tab.look()
    assert found["overflow"] <= 0
    assert found["wide"] == []
    assert found["faint"] == []
    heights = "[...document.querySelectorAll('#filters input, #filters button')].map((one) => one.offsetHeight)"
    assert min(tab.run(heights)) >= 44, "a finger's width"
