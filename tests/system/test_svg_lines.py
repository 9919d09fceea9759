from __future__ import annotations

import math
from xml.etree import ElementTree

from conaclip_edge.system.svg_lines import Curve, line_charts

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*charts):
    return ElementTree.fromstring(line_charts(*charts))


def points(line):
    return [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]


def test_a_larger_value_is_drawn_higher_and_a_later_step_further_right():
    root = drawn(("Recall", "%", [Curve("val", [(0, 10.0), (50, 30.0), (100, 20.0)])], False))
    (line,) = root.iter(f"{SVG}polyline")
    (x0, y0), (x1, y1), (x2, y2) = points(line)
    assert x0 < x1 < x2
    assert y1 < y2 < y0


def test_a_logarithmic_chart_spaces_powers_of_ten_evenly_and_leaves_out_what_has_no_logarithm():
    values = [(0, 1.0), (1, 10.0), (2, 100.0), (3, 0.0), (4, math.nan), (5, math.inf)]
    (line,) = drawn(("Loss", "loss", [Curve("total", values)], True)).iter(f"{SVG}polyline")
    heights = [y for _, y in points(line)]
    assert len(heights) == 3
    assert math.isclose(heights[0] - heights[1], heights[1] - heights[2], abs_tol=0.2)


def test_every_curve_is_named_and_no_two_look_alike():
    curves = [Curve(f"term <{number}>", [(0, 1.0 + number), (1, 2.0)]) for number in range(12)]
    root = drawn(("Loss", "loss", curves, True))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {curve.name for curve in curves} <= set(texts)
    looks = [(line.get("stroke"), line.get("stroke-dasharray")) for line in root.iter(f"{SVG}polyline")]
    assert len(set(looks)) == 12


def test_nothing_to_draw_is_an_empty_chart():
    root = drawn(("Recall on val", "%", [Curve("val", [])], False), ("Loss", "loss", [], True))
    assert [text.text for text in root.iter(f"{SVG}text")].count("step") == 2
