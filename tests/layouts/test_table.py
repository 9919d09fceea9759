"""The table of docs/clients.md is what was found when it was made, and has each layout."""

from __future__ import annotations

from conaclip_edge.layouts.table import LAYOUTS
from conaclip_edge.system.files import read_json
from tests.tools.clients import KEPT, PAGE, with_table

FOUND = read_json(KEPT, "table of clients")


def test_the_page_shows_the_committed_figures() -> None:
    page = PAGE.read_text("utf-8")
    assert with_table(page, FOUND) == page


def test_every_layout_has_a_row() -> None:
    assert [row["report"]["layout"] for row in FOUND["rows"]] == list(LAYOUTS)


def test_node_found_what_python_finds() -> None:
    seen = FOUND["node"]
    assert (seen["ids_equal"], seen["same_sized"]) == (seen["texts"], seen["queries"])
