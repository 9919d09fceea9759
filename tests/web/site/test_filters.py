"""The filters of the static site read what is typed as `conaclip-edge search` does."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from conaclip_edge.errors import UserError
from conaclip_edge.search.hits.filters import picture_filter
from conaclip_edge.search.index import open_index
from conaclip_edge.web.site.build import build_site

PATHS = [
    "IMG_0001.JPG",
    "holiday/img_2.jpg",
    "holiday/beach/IMG-3.png",
    "holidays/a[1].png",
    "holidays/ab.png",
    "x/caf\N{LATIN SMALL LETTER E WITH ACUTE}.webp",
    "x/\N{DOG FACE}1.png",
    "x/b-c.png",
    "x/]!^.png",
]
FILTERS = [
    {},
    *({"folder": text} for text in ("holiday", "/holiday/", "./holiday//beach", "holiday\\beach", "HOLIDAY", "x/b")),
    *({"name": text} for text in ("img", "IMG_*", "*.png", "?b.png", "??.png", "a[1].png", "a[[]1].png", "a[!b]*")),
    *(
        {"name": text}
        for text in ("[a-c]*", "[c-a]*", "[!c-a]*", "*[-]*", "[]]*", "*.p[n", "[", "a.png", "+(.*", "?1.*")
    ),
    *({"name": text} for text in ("CAF\N{LATIN CAPITAL LETTER E WITH ACUTE}*", "[]!^]*", "[!]]*", "[^a]*", "*b*c*")),
]
DATES = ["2024", "2024-07", "2024-07-01", "2024-2-29", "0999"]
WRONG = ["2023-02-29", "24", "2024-13", "2024-00", "0000", "2024-07-01T00", "tomorrow", "2024-", "2024 07"]
FILTERED = """import("./picture-filter.js").then(({{pictureFilter}}) => {filters}.map((only) => {{
    try {{
        const takes = pictureFilter(only);
        return {pictures}.filter(([path, day]) => takes(path, day)).map(([path]) => path);
    }} catch (error) {{ return error.message; }}
}}))"""


def in_browser(tab: Any, filters: list[dict[str, str]], pictures: list[tuple[str, int]]) -> list[Any]:
    return list(tab.run(FILTERED.format(filters=json.dumps(filters), pictures=json.dumps(pictures))))


def test_folders_and_names_take_the_pictures_that_the_command_takes(tab: Any, address: str) -> None:
    tab.open(f"{address}/")
    found = in_browser(tab, FILTERS, [(path, 0) for path in PATHS])
    wanted = [[path for path in PATHS if picture_filter(**only).takes(path, 0)] for only in FILTERS]
    assert dict(zip(map(str, FILTERS), found, strict=True)) == dict(zip(map(str, FILTERS), wanted, strict=True))
    assert len({tuple(one) for one in wanted}) > 12


def test_dates_take_the_days_that_the_command_takes(tab: Any, address: str) -> None:
    tab.open(f"{address}/")
    days = ["2023-12-31", "2024-01-01", "2024-02-29", "2024-06-30", "2024-07-01", "2024-12-31", "2025-01-01"]
    moments = [datetime.fromisoformat(f"{day}T13:00") for day in days]
    pictures = [(day, moment.toordinal() - 719_163) for day, moment in zip(days, moments, strict=True)]
    filters = [{side: date} for date in DATES for side in ("after", "before")]
    wanted = [
        [day for day, at in zip(days, moments, strict=True) if only.takes(day, int(at.timestamp()) * 10**9)]
        for only in (picture_filter(**one) for one in filters)
    ]
    assert in_browser(tab, filters, pictures) == wanted


def test_a_date_that_is_none_is_named_as_the_server_does(tab: Any, address: str) -> None:
    tab.open(f"{address}/")
    wanted = []
    for date in WRONG:
        with pytest.raises(UserError) as refused:
            picture_filter(after=date, dates=("“Changed since”", "“Changed before”"))
        wanted.append(str(refused.value))
    assert in_browser(tab, [{"after": date} for date in WRONG], []) == wanted


def test_the_site_holds_the_local_day_of_each_file(searched: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mtimes = {path: mtime for _, path, mtime in open_index(searched.index).stamps()}
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        build_site(searched.bundle, searched.index, tmp_path / "site")
        local = {path: datetime.fromtimestamp(mtime // 10**9).toordinal() - 719_163 for path, mtime in mtimes.items()}
    finally:
        monkeypatch.undo()
        time.tzset()
    about = json.loads((tmp_path / "site" / "site.json").read_text("utf-8"))
    assert dict(zip(about["pictures"], about["changed"], strict=True)) == local


ANSWER = """import("./backend.js").then(({{search}}) => search({{text: {text}, picture: null, like: null, k: 9,
    only: {only}}})).then(({{hits, notes}}) => ({{names: hits.map(({{name}}) => name),
    scores: hits.map(({{score}}) => score), notes}})).catch((error) => error.message)"""


def test_a_search_in_the_browser_keeps_to_the_filters_and_the_least_score(tab: Any, address: str, searched: Any):
    tab.open(f"{address}/")

    def ask(**only: str) -> Any:
        return tab.run(ANSWER.format(text=json.dumps(searched.queries()[0]), only=json.dumps(only)))

    everything = ask()
    vals = ask(name="val-*")
    assert len(vals["names"]) == 9
    assert all(name.startswith("val-") for name in vals["names"])
    least = everything["scores"][4]
    assert ask(min_score=f"{least:.9f}"[:9])["names"][:5] == everything["names"][:5]
    assert ask(min_score="1.1") == {"names": [], "scores": [], "notes": ["no picture passes the filters."]}
    assert ask(after="2999")["names"] == []
    assert ask(min_score="much") == "'much' in “Least score” is no number. Write it like 0.25."


def test_the_controls_filter_the_site_before_and_after_a_query(tab: Any, address: str) -> None:
    tab.open(f"{address}/#name=val-1*&after=2000")
    status = "document.getElementById('status').textContent"
    names = [name for name, _ in tab.results()]
    assert names
    assert all(name.startswith("val-1") for name in names)
    assert tab.run(status).startswith(f"The first {len(names)} that pass the filters of 352 pictures")
    assert tab.run("document.getElementById('filters-button').textContent") == "Filters (2)"
    assert {name for name, _ in tab.search("w17")} == set(names)
    assert tab.run(status).startswith(f"{len(names)} nearest of 352, filtered")
    assert tab.logged == []
