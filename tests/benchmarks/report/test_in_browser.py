from __future__ import annotations

import re

import pytest

from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.schema.report import parse_report
from tests.helpers.benchmarks.browser import chromium, look
from tests.helpers.benchmarks.sample import sample_report, sample_values

HTML = render_html(sample_report())


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False), (1280, True)])
def test_the_page_fits_and_can_be_read(width, dark, tmp_path):
    found = look(HTML, width, dark, tmp_path / "look")
    assert found["width"] == width
    assert found["overflow"] <= 0
    assert found["wide"] == []
    assert found["faint"] == []
    assert found["texts"] > 300
    assert found["tiny"] == 0
    assert found["images"] == 30
    assert found["broken"] == 0
    assert found["requests"] == []
    assert found["platforms"] == ["iPhone", "Android", "Browser", "Server"], "not all are on the first screen"


def test_words_without_a_break_do_not_widen_the_page(tmp_path):
    values = sample_values()
    values["gallery"][0]["text"] = "donaudampfschifffahrts" * 12
    values["dataset"]["licence"] = values["rows"][2]["notes"][0] = "https://example.org/" + "a" * 300
    values["model"]["name"] = values["environment"]["cpu"] = "x" * 200
    found = look(render_html(parse_report(values, "x")), 390, False, tmp_path / "look")
    assert found["wide"] == []
    assert found["overflow"] <= 0


def test_the_checks_see_what_is_wrong(tmp_path):
    """A page with every fault that the tests above exclude."""
    faults = """<p style="width:900px">wide</p><p style="color:#999;background:#fff">faint</p>
        <img src="http://example.invalid/gone.png" alt="gone">"""
    found = look(HTML.replace("</main>", f"{faults}</main>"), 390, False, tmp_path / "look")
    assert found["overflow"] > 0
    assert any("wide" in one for one in found["wide"])
    assert any(one.startswith("faint") for one in found["faint"])
    assert found["broken"] == 1
    assert len(found["requests"]) == 1


def test_without_a_browser_the_tests_fail_and_say_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssertionError, match="sudo apt-get install chromium"):
        chromium(tmp_path / "report.html", tmp_path / "profile")


def test_the_browser_logs_no_error_of_the_page_under_its_own_policy(tmp_path):
    (tmp_path / "report.html").write_text(HTML, "utf-8")
    document, log = chromium(tmp_path / "report.html", tmp_path / "profile")
    assert "Which files to ship" in document
    assert not re.findall(r".*CONSOLE.*", log)
    (tmp_path / "fault.html").write_text(HTML.replace("</main>", "<script>boom()</script></main>"), "utf-8")
    assert re.search(r"CONSOLE.*Content Security Policy", chromium(tmp_path / "fault.html", tmp_path / "profile")[1])
