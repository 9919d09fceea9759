from __future__ import annotations

import itertools
import json
import re

import pytest

from conaclip_edge.benchmarks.answer.platforms import RULES
from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.numbers import ABSENT, BY, FORMATS, value_at
from conaclip_edge.benchmarks.report.svg_charts import Point, frontier, place_labels
from conaclip_edge.benchmarks.report.write import json_text
from conaclip_edge.benchmarks.schema.report import parse_report
from tests.helpers.benchmarks.pages import read_page
from tests.helpers.benchmarks.sample import TEXT_TITLE, sample_report, sample_values

HTML = render_html(sample_report())
PAGE = read_page(HTML)


def classes(element) -> list[str]:
    return (element.attributes.get("class") or "").split()


def test_every_number_is_the_value_at_its_path_in_report_json():
    values = json.loads(json_text(sample_report()))
    shown = PAGE.all("data")
    assert len(shown) > 200
    for number in shown:
        path, kind = number.attributes["data-from"], number.attributes["data-as"]
        value = value_at(values, path)
        if "data-over" in number.attributes:
            value = value / value_at(values, number.attributes["data-over"])
        if "data-minus" in number.attributes:
            value = value - value_at(values, number.attributes["data-minus"])
        if "data-plus" in number.attributes:
            value = value + value_at(values, number.attributes["data-plus"])
        assert float(number.attributes["value"]) == pytest.approx(value), path
        assert number.text in (FORMATS[kind](value), re.sub(f"( %| ms|{BY})$", "", FORMATS[kind](value))), path


def test_no_number_in_a_table_comes_from_anywhere_else():
    for cell in PAGE.all("td"):
        if "n" in classes(cell):
            loose = "".join(child for child in cell.children if isinstance(child, str))
            assert not re.search(r"\d", loose), cell.text


def test_a_changed_row_changes_the_page():
    values = sample_values()
    values["rows"][1]["latency_ms"]["image"]["p50"] = 987.0
    assert "987 ms" in render_html(parse_report(values, "x"))
    assert "987 ms" not in HTML


def cards(page):
    found = page.all("section")[0].all("article")
    return {card.all("h2")[0].text.split()[0]: card for card in found}


def test_the_page_opens_with_the_files_of_each_platform():
    answer = PAGE.all("section")[0]
    assert answer.attributes["id"] == "answer"
    assert answer.all("h1")[0].text == "Which files to ship"
    assert "No phone was timed" in answer.text
    titles = {platform: card.all("p")[0].text.split(" ")[:2] for platform, card in cards(PAGE).items()}
    onnx = ["ONNX", "int8"]
    assert titles == {"iPhone": ["Core", "ML"], "Android": onnx, "Browser": onnx, "Server": ["ExecuTorch", "int8"]}
    glance = next(one for one in answer.all("ul") if classes(one) == ["glance"])
    assert [link.text.split()[0] for link in glance.all("a")] == list(cards(PAGE))


def test_a_card_has_the_figures_of_its_row_and_says_what_is_not_measured():
    server, browser = (
        {fact.all("dt")[0].text: fact.all("dd")[0].text for fact in cards(PAGE)[name].all("div")}
        for name in ("Server", "Browser")
    )
    assert list(server) == list(browser) == ["Recall", "Size", "Per picture", "Per query", "Memory"]
    assert server["Memory"] == "+32.0 MB"
    assert server["Per picture"].endswith(" ms")
    assert [browser[name] for name in ("Per picture", "Per query", "Memory")] == ["not measured"] * 3


def test_no_number_of_a_card_comes_from_anywhere_else():
    for card in cards(PAGE).values():
        for fact in card.all("dd"):
            loose = "".join(child for child in fact.children if isinstance(child, str))
            assert not re.search(r"\d", loose), fact.text


def test_what_was_not_measured_is_listed_with_the_command_that_measures_it():
    (listed,) = (one for one in PAGE.all("section")[0].all("ul") if classes(one) == ["open"])
    lines = {line.all("b")[0].text: line for line in listed.all("li")}
    assert list(lines) == ["iPhone", "Android", "Browser", "Server"]
    assert [code.text for code in lines["Android"].all("code")] == [
        "conaclip-edge benchmark runs/demo/bundle --device arm64 --into runs/demo/report/report.json"
    ]


def test_the_recall_stands_beside_the_teacher_s_and_chance():
    values = sample_values()
    values["dataset"]["chance"] = 3.0
    bars = next(one for one in read_page(render_html(parse_report(values, "x"))).all("dl") if classes(one) == ["bars"])
    names = [one.text for one in bars.all("dt")]
    assert names == ["Teacher float32", "Student float32", "Core ML int8", "ONNX int8", "ExecuTorch int8", "Chance"]


def test_the_rules_are_in_the_method():
    (method,) = (one for one in PAGE.all("section") if one.attributes["id"] == "method")
    assert all(f"{platform}: {rule}" in method.text for platform, rule in RULES.items())


def test_a_report_of_a_phone_alone_says_that_recall_is_elsewhere():
    values = sample_values()
    rows = values["rows"][:2]
    for row in rows:
        row |= {"recall": None, "mean_recall": None, "relative_recall": {}, "alone": {}, "stages": {}, "coverage": {}}
    values["environment"]["kind"] = "phone"
    bare = {"rows": rows, "dataset": None, "ship": None, "gallery": [], "pictures": {}, "gallery_row": None}
    page = render_html(parse_report(values | bare, "x"))
    assert "Recall was not measured here" in page
    values["environment"]["kind"] = "host"
    assert "the data have no captions" in render_html(parse_report(values | bare, "x"))
    read_page(page)


def test_text_from_data_is_never_markup():
    assert not PAGE.all("script")
    assert "<script" not in HTML
    shown = [heading.text for heading in PAGE.all("h4")]
    assert f"“{TEXT_TITLE}”" in shown
    values = sample_values()
    values["rows"][0]["label"] = values["model"]["name"] = '"><img src=x onerror=alert(1)>'
    values["dataset"]["licence"] = values["rows"][2]["notes"][0] = "<b>bold</b>"
    page = read_page(render_html(parse_report(values, "x")))
    assert not [image for image in page.all("img") if image.attributes.get("src") == "x"]
    assert not [bold for bold in page.all("b") if bold.text == "bold"]


def test_the_page_needs_nothing_but_itself():
    for element in PAGE.all():
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            target = element.attributes.get(name)
            assert target is None or target.startswith(("data:image/webp;base64,", "#")), (element.tag, target)
    style = PAGE.all("style")[0].text
    assert "url(" not in style
    assert "@import" not in style
    policy = next(meta for meta in PAGE.all("meta") if meta.attributes.get("http-equiv"))
    assert policy.attributes["content"].startswith("default-src 'none'")


def test_a_row_that_only_the_interpreter_ran_shows_recall_and_no_time():
    table = next(table for table in PAGE.all("table") if "What the bundle ships" in table.text)
    row = next(row for row in table.all("tr") if "Core ML int8" in row.text)
    cells = [cell.text.strip() for cell in row.all("td")]
    assert cells[0] == "reference"
    assert "/" in cells[2]
    assert cells[5:] == [ABSENT] * 3
    drawn = {mark.attributes.get("data-row") for mark in [*PAGE.all("circle"), *PAGE.all("rect")]}
    timed = {mark.attributes.get("data-row") for mark in PAGE.all("circle")}
    assert "coreml-int8" in drawn
    assert "coreml-int8" not in timed


def test_random_weights_are_in_no_plot_of_recall():
    marks = [mark.attributes["data-row"] for mark in PAGE.all("circle")]
    assert sorted(set(marks)) == ["executorch-int8", "onnx-int8", "plain-onnx", "student-fp32", "teacher-fp32"]
    assert "clip-vit-b32" not in marks
    assert "random weights" in HTML


def test_times_that_spread_too_much_are_marked_and_counted():
    values = sample_values()
    latencies = [
        one for row in values["rows"] for one in (*row.get("latency_ms", {}).values(), *row.get("more_latency", []))
    ]
    noisy = sum(one["noisy"] for one in latencies)
    assert 0 < noisy < len(latencies)
    assert f"{noisy} of {len(latencies)} timings spread more than the suite allows" in " ".join(PAGE.text.split())
    for row in values["rows"]:
        for one in row.get("latency_ms", {}).values():
            one["noisy"] = False
        for one in row.get("more_latency", []):
            one["noisy"] = False
    calm = render_html(parse_report(values, "x"))
    assert "timings spread more" not in calm
    assert "<abbr" not in calm


def test_the_gallery_shows_both_sides_with_the_right_picture_framed():
    cards = [card for card in PAGE.all("article") if "query" in classes(card)]
    assert len(cards) == 3
    typed, example, failure = cards
    assert not [item for item in typed.all("li") if "right" in classes(item)]
    assert len([item for item in example.all("li") if "right" in classes(item)]) == 2
    assert "right picture at rank 9" in " ".join(failure.text.split())
    for card in cards:
        assert [len(row.all("img")) for row in card.all("ol")] == [5, 5]
        assert all(image.attributes["alt"] for image in card.all("img"))


def test_links_of_the_navigation_lead_to_sections():
    here = {element.attributes.get("id") for element in PAGE.all("section")}
    targets = {link.attributes["href"].removeprefix("#") for link in PAGE.all("nav")[0].all("a")}
    assert targets == here


def test_tables_have_captions_and_headings_follow_each_other():
    assert all(table.all("caption") for table in PAGE.all("table"))
    levels = [int(element.tag[1]) for element in PAGE.all() if re.fullmatch(r"h[1-6]", element.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(chart.attributes.get("aria-label") for chart in PAGE.all("svg") if "chart" in classes(chart))
    assert all({"aria-label", "aria-hidden"} & set(chart.attributes) for chart in PAGE.all("svg"))


def point(latency: float, recall: float) -> Point:
    return Point("row", "label", "files", latency, recall)


def test_the_frontier_leaves_out_what_another_row_beats_in_both():
    fast, good, best, beaten, slow = (point(*pair) for pair in ((1, 50), (2, 60), (9, 70), (3, 55), (20, 70)))
    assert frontier([slow, beaten, best, fast, good]) == [fast, good, best]


def test_labels_of_rows_that_lie_close_do_not_cover_each_other():
    spots = [(60.0, 120.0), (66.0, 121.0), (74.0, 119.0), (80.0, 124.0)]
    labels = ["ExecuTorch int8", "ONNX int8", "Student float32", "Plain ONNX int8"]
    boxes = []
    for (x, y), label, (dx, dy, anchor) in zip(spots, labels, place_labels(spots, labels), strict=True):
        width = 6 * len(label)
        left = x + dx - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        boxes.append((left, y + dy - 10, left + width, y + dy + 2))
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (one, other)


def test_what_accelerators_take_is_a_table():
    (table,) = [one for one in PAGE.all("table") if "NNAPI" in one.text]
    (line,) = [one for one in table.all("tr") if "ONNX int8" in one.text]
    assert [cell.text.strip() for cell in line.all("td")] == ["picture", "67 of 68 (2)", "not checked"]
