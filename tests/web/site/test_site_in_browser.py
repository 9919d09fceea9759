from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conaclip_edge.benchmarks.schema.row import ReportRow
from conaclip_edge.bundle.open import open_bundle
from conaclip_edge.data.preprocess import Preprocess, describe, to_pixels
from conaclip_edge.errors import GateFailed, UserError
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.web.measure import report as measure
from conaclip_edge.web.measure.findings import PageFindings
from conaclip_edge.web.measure.local_server import serve_folder
from conaclip_edge.web.site.int8_vectors import best
from tests.helpers.models.tiny_teachers import siglip, siglip2_fixed

SEARCH = """Promise.all({queries}.map(async text => {{
    const {{search}} = await import("./backend.js");
    const {{hits, vector}} = await search({{text, picture: null, like: null, k: 10}});
    return {{rows: hits.map(({{key, score}}) => [key, score]), vector: [...vector]}};
}}))"""


@pytest.fixture(scope="module")
def rows(site):
    """int8 rows and scales as they lie on the site."""
    scales = np.fromfile(site / "index" / "scales.f32", dtype="<f4")
    return np.fromfile(site / "index" / "vectors.i8", dtype=np.int8).reshape(len(scales), -1), scales


def test_the_browser_gives_golden_ids_pixels_and_embeddings_and_times_both_towers(site, searched):
    found = measure.measure_site(site)
    assert found.passed
    assert found.isolated, "threads need a page that is isolated from others"
    assert len(found.texts) == 32
    assert all(one.same for one in found.texts)
    assert min(one.cosine for one in found.texts) >= 0.98
    assert len(found.pictures) >= 7
    assert {one.levels for one in found.pictures} <= {0, 1}
    for name in ("text", "image", "picture"):
        times = found.times[name].ms
        assert len(times) >= 60
        assert np.median(times) > 0


@pytest.fixture(scope="module")
def answers(tab, address, searched):
    """query -> the browser's rows with scores, and its embedding of the query."""
    queries = searched.queries()[:50]
    tab.open(f"{address}/")
    return dict(zip(queries, tab.run(SEARCH.format(queries=json.dumps(queries))), strict=True))


def test_the_ten_best_are_pythons_for_fifty_queries(answers, rows):
    assert len(answers) == 50
    for query, answer in answers.items():
        wanted = best(*rows, np.asarray(answer["vector"], dtype=np.float32), 10)
        assert [row for row, _ in answer["rows"]] == [row for row, _ in wanted], query
        np.testing.assert_allclose([s for _, s in answer["rows"]], [s for _, s in wanted], rtol=1e-12)


def test_the_ten_best_from_pythons_own_embedding_differ_only_where_scores_all_but_tie(answers, rows, searched):
    bundle = open_bundle(searched.bundle, "onnx")
    same = 0
    for query, answer in answers.items():
        vector = bundle.embed_texts([query])[0]
        assert np.asarray(answer["vector"]) @ vector > 0.999, query
        scores = dict(best(*rows, vector, len(rows[1])))
        own, theirs = best(*rows, vector, 10), [row for row, _ in answer["rows"]]
        same += [row for row, _ in own] == theirs
        # the two runtimes' int8 kernels round differently, by less than a hundredth of a cosine
        np.testing.assert_allclose([scores[row] for row in theirs], [score for _, score in own], atol=0.01)
    assert same >= 40


def test_a_dropped_picture_finds_itself(tab, address, searched):
    tab.open(f"{address}/")
    tab.drop(searched.pictures / "val-3.png")
    tab.until("document.getElementById('status').textContent.includes('nearest')")
    (name, score), *_ = tab.results()
    assert name == "val-3"
    assert score > 0.98
    tab.press("Escape")
    tab.until(
        "document.getElementById('chip').hidden && document.getElementById('status').textContent.includes('first')"
    )


def test_the_page_asks_nobody_else_and_logs_nothing(tab, address, searched):
    tab.logged.clear()
    tab.requests.clear()
    tab.open(f"{address}/")
    tab.search(searched.queries()[0])
    assert tab.logged == []
    assert {one.split("/")[2] for one in tab.requests if "://" in one} == {address.split("/")[2]}
    assert tab.run("document.getElementById('credit').textContent") == "Bars: CC0 <b>"


def test_a_site_that_lacks_a_file_says_so(tab, site, tmp_path):
    shutil.copytree(site, tmp_path / "site")
    (tmp_path / "site" / "index" / "vectors.i8").unlink()
    with serve_folder(tmp_path / "site") as broken:
        tab.open(f"{broken}/")
        assert "vectors.i8 is missing" in tab.run("document.querySelector('#error').innerText")


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"error": "index/vectors.i8 is missing"}, r"site fails in Chromium: index/vectors\.i8 is missing"),
        ({"bundle": "0"}, r"what the page of site sends has no 'agent'"),
    ],
)
def test_a_page_that_fails_is_reported(sent, message):
    with pytest.raises(UserError, match=message):
        measure.measure_site(Path("site"), lambda site, page: json.dumps(sent).encode())


def page_values(**changes):
    text = {"text": "a cat", "same": True, "cosine": 0.999}
    picture = {"name": "pictures/wide.png", "levels": 1, "cosine": 0.999}
    values = {"bundle": "0" * 64, "agent": "HeadlessChrome/150.0", "pixel_levels": 1}
    values |= {"min_cosine": 0.98, "picture_min_cosine": 0.97}
    times = {"inputs": 3, "warmup": 5, "ms": [1.0 + 0.01 * number for number in range(60)]}
    values |= {"isolated": True, "threads": 1, "passed": not changes}
    values |= {"texts": [text | changes.get("text", {})], "pictures": [picture | changes.get("picture", {})]}
    return values | {"times": dict.fromkeys(("text", "image", "picture"), times)}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"text": {"same": False}}, "ids of 'a cat'"),
        ({"text": {"cosine": 0.9}}, r"text 'a cat': 0\.9000"),
        ({"picture": {"levels": 2}}, "wide.png: 2 levels"),
        ({"picture": {"cosine": 0.9}}, r"wide.png: 0\.9000"),
    ],
)
def test_a_golden_value_that_differs_fails_the_gate(changes, what):
    with pytest.raises(GateFailed, match=what):
        measure.measure_site(Path("site"), lambda site, page: json.dumps(page_values(**changes)).encode())


def test_the_reports_row_of_the_browser_is_replaced_never_doubled(site):
    from tests.helpers.benchmarks.sample import sample_report

    report, found = sample_report(), PageFindings.model_validate(page_values())
    once = measure.with_row(report, found, site)
    twice = measure.with_row(once, found, site)
    added = [row for row in twice.rows if row.target == "web"]
    assert [row.id for row in added] == ["web-int8"]
    assert len(twice.rows) == len(report.rows) + 1
    row: ReportRow = added[0]
    assert row.executed == "native"
    assert row.recall is None
    assert row.latency_ms["text"].p50 == pytest.approx(1.295)
    assert row.size_bytes.total == sum((site / "model" / f"{t}.int8.onnx").stat().st_size for t in ("image", "text"))
    assert twice.ship == report.ship


def test_a_report_of_another_bundle_is_refused(site, tmp_path):
    from conaclip_edge.benchmarks.report.write import json_text
    from tests.helpers.benchmarks.sample import sample_report

    (tmp_path / "report.json").write_text(json_text(sample_report()), "utf-8")
    other = PageFindings.model_validate(page_values() | {"bundle": "1" * 64})
    with pytest.raises(UserError, match="of another bundle"):
        measure.add_to_report(other, site, tmp_path / "report.json")


ANSWER = """import("./backend.js").then(({{search}}) => search({{text: {text}, picture: null, like: null, k: 10}}))
    .then(({{hits, notes}}) => ({{hits: hits.length, low: hits.filter((hit) => hit.low).length, notes}}))"""


def test_a_query_of_which_the_model_reads_nothing_says_so_in_the_browser_too(tab, address, searched):
    tab.open(f"{address}/")
    nothing = tab.run(ANSWER.format(text=json.dumps("\N{CJK UNIFIED IDEOGRAPH-72D7}")))
    assert nothing["hits"] == 0
    assert nothing["notes"][0].startswith("the model reads nothing of this query")
    some = tab.run(ANSWER.format(text=json.dumps(searched.queries()[0])))
    assert (some["hits"], some["notes"]) == (10, [])


def test_hits_below_the_cut_off_are_marked_in_the_browser_too(tab, site, tmp_path, searched):
    shutil.copytree(site, tmp_path / "site")
    about = json.loads((tmp_path / "site" / "site.json").read_text("utf-8"))
    about["cut_off"] = [1.5, [0.0] * about["dim"]]
    (tmp_path / "site" / "site.json").write_text(json.dumps(about), "utf-8")
    with serve_folder(tmp_path / "site") as address:
        tab.open(f"{address}/")
        found = tab.run(ANSWER.format(text=json.dumps(searched.queries()[0])))
    assert (found["hits"], found["low"]) == (10, 10)
    assert found["notes"][0].startswith("nothing like it")


def test_a_picture_with_a_colour_profile_is_decoded_as_the_bundle_does(tab, address):
    from conaclip_edge.data.preprocess import decode
    from tests.helpers.colour_profiles import display_p3, stored_in

    file = io.BytesIO()
    red = stored_in(display_p3(), Image.new("RGB", (40, 30), (250, 60, 30)))
    red.save(file, "PNG", icc_profile=red.info["icc_profile"])
    data = file.getvalue()
    script = f"""import("./preprocess.js").then(async ({{decode}}) => {{
        const bytes = Uint8Array.from(atob("{base64.b64encode(data).decode()}"), (one) => one.charCodeAt(0));
        const {{data}} = await decode(new Blob([bytes]), 1e6);
        return [...data.slice(0, 3)];
    }})"""
    tab.open(f"{address}/")
    assert tab.run(script) == pytest.approx(decode(data).getpixel((0, 0)), abs=4)


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(70, 31), (20, 90), (24, 24), (205, 300)])
def test_every_kind_of_resize_gives_pythons_pixels_in_the_browser(tab, address, shape, resize, resample):
    steps = Preprocess(24, resize, resample)
    # smooth: Pillow runs the two passes in an order of its own, and rounds between them
    coarse = Image.fromarray(np.random.default_rng(4).integers(0, 256, (6, 5, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC))
    rgba = np.dstack([pixels, np.full(shape, 255, np.uint8)])
    encoded = base64.b64encode(rgba.tobytes()).decode()
    script = f"""import("./preprocess.js").then(({{requireKnown, resized}}) => {{
        const data = Uint8ClampedArray.from(atob("{encoded}"), (one) => one.charCodeAt(0));
        const preprocess = {json.dumps(describe(steps))};
        requireKnown(preprocess);
        return [...resized({{data, width: {shape[1]}, height: {shape[0]}}}, preprocess)];
    }})"""
    tab.open(f"{address}/")
    found = np.asarray(tab.run(script)).reshape(3, 24, 24)
    assert np.abs(found - to_pixels(Image.fromarray(pixels), steps).astype(int)).max() <= 1


@pytest.mark.parametrize(
    "change", [{"crop": "top"}, {"crop": None}, {"schema": "x"}, {"resize": {"filter": "lanczos", "antialias": True}}]
)
def test_steps_that_the_page_does_not_know_are_refused_in_the_browser(tab, address, change):
    content = describe(Preprocess(24)) | change
    script = f"""import("./preprocess.js").then(({{requireKnown}}) => {{
        try {{ requireKnown({json.dumps(content)}); return "taken"; }} catch (error) {{ return error.message; }}
    }})"""
    tab.open(f"{address}/")
    assert tab.run(script) == "preprocess.json asks for steps that this page does not know"


@pytest.mark.parametrize("family", [siglip, siglip2_fixed])
def test_texts_of_a_fixed_length_get_pythons_ids_in_the_browser(tab, address, tmp_path, family):
    family(tmp_path / "model")
    tokenizer = load_student(tmp_path / "model").tokenizer
    texts = ["A Cat, on the RED sofa!", "", "two dogs", "word " * 60]
    script = f"""import("./tokenize.js").then(({{openTokenizer}}) => {{
        const ids = openTokenizer({tokenizer.content}, {tokenizer.context}, {tokenizer.eos_id});
        return {json.dumps(texts)}.map(ids);
    }})"""
    tab.open(f"{address}/")
    assert tab.run(script) == [tokenizer.ids(text) for text in texts]
