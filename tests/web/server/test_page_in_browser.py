from __future__ import annotations

import pytest

from conaclip_edge.search.query import Searcher

SHOWN = "document.getElementById('{}').textContent"


@pytest.fixture
def page(tab, address):
    """The page at the width of a desktop, freshly opened."""
    tab.logged.clear()
    tab.requests.clear()
    tab.open(f"{address}/")
    return tab


def test_before_anything_is_asked_some_pictures_are_shown_without_scores(page):
    assert page.run("document.activeElement.id") == "text"
    assert len(page.results()) == 60
    assert {score for _, score in page.results()} == {None}
    assert page.run(SHOWN.format("status")).startswith("The first 60 of 352 pictures")


def test_typing_finds_what_the_command_line_finds(page, searched):
    from conaclip_edge.search.commands import search_pictures

    query = searched.queries()[330]
    found = page.search(query)
    wanted = search_pictures(searched.index, query, 48).hits
    assert [score for _, score in found] == pytest.approx([hit.score for hit in wanted], abs=1e-6)
    assert found[0][0] in wanted[0].path
    status = page.run(SHOWN.format("status"))
    assert status.startswith("48 nearest of 352")
    assert "encoded in" in status
    assert page.search("") != found
    assert page.run(SHOWN.format("status")).startswith("The first 60")
    assert page.logged == []
    assert {one.split("/")[2] for one in page.requests if "://" in one} == {page.run("location.host")}


def test_a_dropped_picture_finds_itself_and_escape_forgets_it(page, searched):
    page.drop(searched.pictures / "val-3.png")
    page.until("document.getElementById('status').textContent.includes('nearest')")
    name, score = page.results()[0]
    assert name == "val-3"
    assert score == pytest.approx(1, abs=1e-4)
    page.press("Escape")
    page.until("document.getElementById('status').textContent.includes('first')")
    assert page.run("document.getElementById('chip').hidden")


def test_a_dropped_file_that_is_no_picture_is_named(page, searched):
    page.drop(searched.pictures / "metadata.jsonl")
    page.until("!document.getElementById('error').hidden")
    assert "cannot be decoded" in page.run(SHOWN.format("error"))


def test_keys_walk_the_pictures_and_come_back(page):
    page.press("ArrowDown")
    assert page.run("document.activeElement.closest('li').dataset.key") == page.run(
        "document.querySelector('#results li').dataset.key"
    )
    page.press("ArrowRight")
    assert page.run("[...document.querySelectorAll('a.open')].indexOf(document.activeElement)") == 1
    page.press("/")
    assert page.run("document.activeElement.id") == "text"
    assert page.run("document.getElementById('text').value") == ""


def test_more_like_this_puts_the_picture_itself_first(page):
    page.run("document.querySelectorAll('.like')[5].click()")
    page.until("document.getElementById('status').textContent.includes('nearest')")
    assert page.results()[0][0] == page.run(SHOWN.format("chip-name"))


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False), (1280, True)])
def test_the_page_fits_and_can_be_read(width, dark, tab, address):
    tab.open(f"{address}/#q=w17+strawbery", width, dark=dark)
    found = tab.look()
    assert found["width"] == width
    assert found["overflow"] <= 0
    assert found["wide"] == []
    assert found["faint"] == []
    assert found["texts"] > 100
    unnamed = """[...document.querySelectorAll("button, input, a, img")].filter(one => !(one.textContent.trim() ||
        one.getAttribute("aria-label") || one.alt || one.querySelector("img")?.alt)).map(one => one.outerHTML)"""
    assert tab.run(unnamed) == []


def test_the_page_shows_what_the_server_corrected_and_takes_the_typed_words_on_wish(page, monkeypatch):
    monkeypatch.setattr(Searcher, "correct", lambda self, text: text.replace("w71", "w17"))
    page.search("w71")
    page.until("!document.getElementById('spelling').hidden")
    assert page.run(SHOWN.format("spelling-text")) == "Showing “w17”."
    assert page.run(SHOWN.format("spelling-button")) == "Look for “w71” instead"
    page.run("document.getElementById('spelling-button').click()")
    page.until("document.getElementById('spelling').hidden")


def test_the_page_says_that_the_model_reads_nothing(page):
    page.run("document.getElementById('text').value = '\\u72d7'; document.getElementById('form').requestSubmit()")
    page.until("!document.getElementById('notes').hidden")
    assert "reads nothing of this query" in page.run(SHOWN.format("notes"))
    assert page.results() == []
