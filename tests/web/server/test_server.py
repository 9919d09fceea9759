from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
from io import BytesIO

import pytest
from PIL import Image
from starlette.testclient import TestClient

from conaclip_edge.errors import UserError
from conaclip_edge.search.commands import index_pictures
from conaclip_edge.search.query import Searcher, open_searcher
from conaclip_edge.web.server.app import LARGEST_UPLOAD, make_app
from conaclip_edge.web.server.run import addresses, listen
from tests.helpers.search.small_index import COLOURS, write_bundle, write_pictures


@pytest.fixture(scope="module")
def client(app):
    return TestClient(app, base_url="http://127.0.0.1:8000")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A small bundle of colours."""
    return write_bundle(tmp_path_factory.mktemp("colours") / "bundle")


def raw(address: str, path: str, **headers: str) -> tuple[int, bytes]:
    """Ask for a path as it is written, which every client library would tidy up."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize(
    "path",
    [
        "/picture/../secret.png",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/picture/%2e%2e%2fsecret.png",
        "/picture/..%5csecret.png",
        "/thumbnail/%2fetc%2fpasswd",
        "//etc/passwd",
        "/picture//etc/passwd",
        "/picture/{outside}",
        "/picture/val-0.png",
        "/picture/0",
        "/picture/-1",
        "/picture/1.5",
        "/picture/1%00",
        "/picture/99999999",
        "/picture/99999999999999999999999999",
        "/thumbnail/99999999",
        "/app.py",
        "/pictures.sqlite",
    ],
)
def test_no_path_leads_out_of_the_indexed_list(path, address, outside):
    status, body = raw(address, path.format(outside=outside))
    assert status == 404
    assert body.startswith(b'{"error"')


def test_indexed_pictures_come_by_their_key_and_as_thumbnails(client, searched):
    (hit,) = client.post("/search", params={"text": searched.queries()[0], "k": 1}).json()["hits"]
    picture = client.get(hit["full"].removeprefix("."))
    assert picture.content == (searched.pictures / hit["name"]).read_bytes()
    assert picture.headers["content-type"] == "image/png"
    small = client.get(hit["thumb"].removeprefix("."))
    assert Image.open(BytesIO(small.content)).format == "WEBP"


def test_every_answer_forbids_what_the_page_does_not_need(client):
    for path in ("/", "/app.js", "/about", "/thumbnail/1", "/nowhere"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "no-store" in headers["cache-control"] or "private" in headers["cache-control"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[", "localhost.x"]
)
def test_a_name_that_another_site_could_point_here_is_refused(host, address):
    status, body = raw(address, "/about", Host=host)
    assert status == 421
    assert b"use the address that it printed" in body


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "192.168.1.7"])
def test_addresses_and_localhost_are_answered(host, client):
    assert client.get("/", headers={"Host": host}).status_code == 200


def test_another_sites_page_may_not_search(client):
    answer = client.post("/search?text=red", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert client.post("/search?text=red", headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200


def bomb() -> bytes:
    """A picture of a few KB that claims 225 million pixels."""
    file = BytesIO()
    Image.new("1", (15_000, 15_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("parameters", "body", "status", "words"),
    [
        ({}, b"no picture", 400, "cannot be decoded"),
        ({}, b"\x89PNG\r\n\x1a\n" + bytes(50), 400, "cannot be decoded"),
        ({}, "bomb", 400, "more than max_pixels"),
        ({}, bytes(LARGEST_UPLOAD + 1), 413, "larger than 20 MB"),
        ({}, b"", 400, "nothing to search for"),
        ({"text": "-red"}, b"", 400, "only words to stay away from"),
        ({"text": "a\0b"}, b"", 400, "NUL"),
        ({"like": "99999"}, b"", 400, "not in the index any more"),
        ({"like": "x"}, b"", 400, "numbers"),
    ],
)
def test_bad_input_is_named_in_one_line(parameters, body, status, words, client):
    answer = client.post("/search", params=parameters, content=bomb() if body == "bomb" else body)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_a_long_query_is_answered_with_a_note(client):
    answer = client.post("/search", params={"text": "word " * 300})
    assert answer.status_code == 200
    assert "longer than the model reads" in answer.json()["notes"][0]


def test_a_picture_that_is_gone_since_it_was_indexed_is_a_plain_404(searched):
    # a server of its own: one that made this thumbnail before still has it
    client = TestClient(
        make_app(open_searcher(searched.index), searched.bundle, "127.0.0.1"), base_url="http://127.0.0.1:8000"
    )
    hit = client.get("/about").json()["sample"][-1]
    path = searched.pictures / hit["name"]
    path.rename(path.with_suffix(".away"))
    try:
        assert client.get(hit["full"].removeprefix(".")).status_code == 404
        assert client.get(hit["thumb"].removeprefix(".")).status_code == 404
    finally:
        path.with_suffix(".away").rename(path)


def test_a_port_in_use_is_one_line():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^port {port} of 127\.0\.0\.1 is in use\. Choose another, .*--port 0"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no such host", "256.1.1.1", "203.0.113.7"])
def test_a_host_that_is_not_this_machines_is_one_line(host):
    with pytest.raises(UserError, match=r"^cannot listen on "):
        listen(host, 0)


def test_what_the_page_reads_is_json(client):
    about = client.get("/about").json()
    assert about["count"] == 352
    assert len(about["sample"]) == 60
    assert {hit["score"] for hit in about["sample"]} == {None}
    assert about["largest"] == LARGEST_UPLOAD
    assert json.dumps(about)


def test_the_server_corrects_as_the_command_does_and_not_where_words_are_exact(client, searched, monkeypatch):
    monkeypatch.setattr(Searcher, "correct", lambda self, text: text.replace("w71", "w17"))
    found = client.post("/search", params={"text": "w71"}).json()
    assert found["searched"] == "w17"
    assert client.post("/search", params={"text": "w71", "exact": "1"}).json()["searched"] == "w71"


def test_a_query_of_which_the_model_reads_nothing_has_a_note_and_no_hits(client):
    answer = client.post("/search", params={"text": "\N{CJK UNIFIED IDEOGRAPH-72D7}"})
    assert answer.status_code == 200
    assert answer.json()["hits"] == []
    assert answer.json()["notes"][0].startswith("the model reads nothing of this query")


@pytest.mark.parametrize("name", ["photos.example.org", "photos.example.org:443", "https://photos.example.org/"])
def test_a_proxys_name_is_let_in_as_host_and_as_origin(name, app, searched):
    served = make_app(open_searcher(searched.index), searched.bundle, "127.0.0.1", [name])
    client = TestClient(served, base_url="http://127.0.0.1:8000")
    assert client.get("/about", headers={"Host": "photos.example.org"}).status_code == 200
    origin = {"Origin": "https://photos.example.org"}
    assert client.post("/search?text=w17", headers=origin).status_code == 200
    assert client.post("/search?text=w17", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get("/about", headers={"Host": "evil.example"}).status_code == 421


def test_the_machines_own_names_are_known(client):
    name = socket.gethostname()
    for host in (name, f"{name}.local:8000", name.upper()):
        assert client.get("/about", headers={"Host": host}).status_code == 200


def test_a_page_behind_a_prefix_is_found_with_it_and_without(searched):
    served = make_app(open_searcher(searched.index), searched.bundle, "127.0.0.1", prefix="/photos")
    client = TestClient(served, base_url="http://127.0.0.1:8000")
    for path in ("/photos/", "/photos/app.js", "/photos/about", "/", "/about"):
        assert client.get(path).status_code == 200
    assert client.get("/photos", follow_redirects=False).headers["location"] == "/photos/"
    assert client.get("/photosabout").status_code == 404


@pytest.mark.parametrize(
    ("bound", "first"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("192.168.1.7", "192.168.1.7")]
)
def test_the_printed_address_is_one_that_works(bound, first):
    assert addresses(bound)[0] == first


def test_what_is_indexed_is_shown_and_looked_for_whatever_its_format(bundle, tmp_path):
    from pillow_heif import from_pillow

    pictures = write_pictures(tmp_path / "pictures", 4)
    red = Image.new("RGB", (64, 48), COLOURS["red"])
    from_pillow(red).save(pictures / "a.HEIC")
    red.save(pictures / "b.tif")
    index_pictures(bundle, pictures, tmp_path / "index")
    client = TestClient(
        make_app(open_searcher(tmp_path / "index"), bundle, "127.0.0.1"), base_url="http://127.0.0.1:8000"
    )
    for name in ("a.HEIC", "b.tif"):
        (hit,) = [one for one in client.get("/about").json()["sample"] if one["name"] == name]
        for kind in ("thumb", "full"):
            shown = client.get(hit[kind].removeprefix("."))
            assert Image.open(BytesIO(shown.content)).format == "WEBP"
        assert client.post("/search", params={"like": hit["key"]}).json()["hits"][0]["score"] > 0.99
        sent = client.post("/search", params={"name": name}, content=(pictures / name).read_bytes())
        assert sent.json()["hits"][0]["score"] > 0.99


def test_a_larger_upload_may_be_let_in(searched):
    small, large = (
        TestClient(
            make_app(open_searcher(searched.index), searched.bundle, "127.0.0.1", largest_upload=size),
            base_url="http://127.0.0.1:8000",
        )
        for size in (1 << 20, 3 << 20)
    )
    body = bytes(2 << 20)
    assert small.post("/search", content=body).status_code == 413
    assert large.post("/search", content=body).status_code == 400


def test_a_file_name_that_is_no_utf_8_is_shown_with_a_replacement_character(searched, tmp_path):
    (tmp_path / "pictures").mkdir()
    odd = tmp_path / "pictures" / os.fsdecode(b"caf\xe9.png")
    shutil.copy(searched.pictures / "test-0.png", odd)
    index_pictures(searched.bundle, tmp_path / "pictures", tmp_path / "index")
    app = make_app(open_searcher(tmp_path / "index"), searched.bundle, "127.0.0.1")
    page = TestClient(app, base_url="http://127.0.0.1:8000")
    (hit,) = page.post("/search", params={"text": searched.queries()[0]}).json()["hits"]
    assert hit["name"] == "caf\N{REPLACEMENT CHARACTER}.png"
    assert [one["name"] for one in page.get("/about").json()["sample"]] == [hit["name"]]
    assert page.get(hit["full"].removeprefix(".")).content == odd.read_bytes()


def test_an_upload_that_claims_more_pixels_than_its_size_allows_is_refused(searched):
    client = TestClient(
        make_app(open_searcher(searched.index), searched.bundle, "127.0.0.1", largest_upload=2000),
        base_url="http://127.0.0.1:8000",
    )
    buffer = BytesIO()
    Image.new("1", (100, 100)).save(buffer, "PNG")
    answer = client.post("/search", content=buffer.getvalue())
    assert answer.status_code == 400
    assert "100x100 pixels are more than max_pixels = 6000" in answer.json()["error"]
