"""transformers.js itself loads the layout, in Node and in Chromium, and finds what Python finds."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conaclip_edge import Bundle, open_bundle
from conaclip_edge.bundle.golden import Golden, read_golden
from conaclip_edge.data.preprocess import decode, to_pixels
from conaclip_edge.layouts.client import as_seen
from conaclip_edge.layouts.clients.transformers_js import open_client
from conaclip_edge.layouts.report import LayoutReport
from conaclip_edge.layouts.source import open_source
from tests.helpers.devtools import browser
from tests.helpers.layouts import node
from tests.helpers.search.search_world import SearchWorld

ROOT = Path(__file__).parents[2]
QUERIES, PICTURES, FIRST = 50, 40, 10


@pytest.fixture(scope="module")
def bundle(searched: SearchWorld) -> Bundle:
    return open_bundle(searched.bundle)


@pytest.fixture(scope="module")
def golden(searched: SearchWorld) -> Golden:
    return read_golden(searched.bundle / "golden")


@pytest.fixture(scope="module")
def sized(searched: SearchWorld, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures that have the tower's size already, so that no client has to resize them."""
    home, files = tmp_path_factory.mktemp("sized"), []
    for number, path in enumerate(sorted(searched.pictures.glob("*.png"))[:PICTURES]):
        pixels = to_pixels(decode(path.read_bytes()), bundle.preprocess)
        files.append(home / f"{number}.png")
        Image.fromarray(pixels.transpose(1, 2, 0)).save(files[-1])
    return files


@pytest.fixture(scope="module")
def in_node(
    for_transformers_js: tuple[Path, LayoutReport],
    modules: Path,
    searched: SearchWorld,
    golden: Golden,
    sized: list[Path],
) -> dict[str, Any]:
    """Ids and embeddings that Node gives for the golden texts and 50 captions, and for pictures of the tower's size."""
    texts = [*golden.texts, *searched.queries()[:QUERIES]]
    found: dict[str, Any] = node.run(
        modules, "embed.mjs", for_transformers_js[0], given={"texts": texts, "pictures": [str(one) for one in sized]}
    )
    return found


def cosines(ones: Any, others: Any) -> np.ndarray:
    a, b = np.asarray(ones), np.asarray(others)
    return np.asarray((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def test_node_gives_the_ids_of_the_golden_texts(in_node: dict[str, Any], golden: Golden, bundle: Bundle) -> None:
    eos, context = bundle.tokenizer.eos_id, bundle.tokenizer.context
    for text, ids, right in zip(golden.texts, in_node["ids"], golden.ids, strict=False):
        if len(right) < context:  # nothing is cut, and nothing filled up
            assert ids == right.tolist(), text
        assert len(ids) <= context
        assert as_seen(np.asarray(ids), eos) == as_seen(right, eos), text


def test_node_gives_the_embeddings_of_texts_that_it_cuts_with_their_eos(
    in_node: dict[str, Any], golden: Golden, bundle: Bundle
) -> None:
    own = bundle.embed_texts(golden.texts)
    # ids behind the first EOS, of a text that names it, are cut off: other ids than the bundle's share the int8 scales
    assert cosines(in_node["texts"][: len(own)], own).min() > 0.999


def test_texts_in_one_call_find_the_same_as_alone(in_node: dict[str, Any]) -> None:
    assert cosines(in_node["batch"], in_node["texts"]).min() > 0.98  # int8 takes its scales from the whole batch


def test_the_first_ten_of_fifty_queries_are_python_s(
    in_node: dict[str, Any], searched: SearchWorld, bundle: Bundle, sized: list[Path]
) -> None:
    def first(texts: np.ndarray, pictures: np.ndarray) -> list[list[int]]:
        return [np.argsort(-row, kind="stable")[:FIRST].tolist() for row in texts @ pictures.T]

    texts = np.asarray(in_node["texts"][-QUERIES:])
    own = first(bundle.embed_texts(searched.queries()[:QUERIES]), bundle.embed_images(sized))
    assert first(texts, np.asarray(in_node["pictures"])) == own


def test_node_resizes_as_the_gate_supposes(
    for_transformers_js: tuple[Path, LayoutReport], modules: Path, golden: Golden, searched: SearchWorld
) -> None:
    client = open_client(open_source(searched.bundle, "onnx"), for_transformers_js[0])
    # transformers.js drops alpha; and what is smaller than the input is moved by half a pixel when it is enlarged
    names = [name for name in golden.names if name not in ("transparent.png", "small.png")]
    pictures = [searched.bundle / "golden" / "pictures" / name for name in names]
    given = {"texts": [""], "pictures": [str(one) for one in pictures]}
    found = 255 * np.asarray(node.run(modules, "embed.mjs", for_transformers_js[0], given=given)["pixels"])
    supposed = np.stack([client.resized(decode(one.read_bytes())) for one in pictures])
    assert dict(zip(names, np.abs(found - supposed).mean(axis=(1, 2, 3)) < 1, strict=True)) == dict.fromkeys(
        names, True
    )


class _Plain(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".wasm": "application/wasm"}  # noqa: RUF012

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def address(
    for_transformers_js: tuple[Path, LayoutReport], modules: Path, sized: list[Path], tmp_path: Path
) -> Iterator[str]:
    """The page of docs/clients.md beside the layout, the packages and some pictures, on a port of this machine."""
    (page,) = re.findall(r"```html\n(.*?)```", (ROOT / "docs" / "clients.md").read_text("utf-8"), re.S)
    (tmp_path / "index.html").write_text(page, "utf-8")
    (tmp_path / "node_modules").symlink_to(modules / "node_modules")
    (tmp_path / "bundle-transformers-js").symlink_to(for_transformers_js[0])
    (tmp_path / "pictures").mkdir()
    for one in sized:
        shutil.copy(one, tmp_path / "pictures")
    (tmp_path / "pictures.json").write_text(json.dumps([f"pictures/{one.name}" for one in sized]), "utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Plain, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_page_of_the_document_searches_in_chromium(
    address: str, searched: SearchWorld, bundle: Bundle, sized: list[Path], tmp_path: Path
) -> None:
    query = searched.queries()[0]
    scores = bundle.embed_images(sized) @ bundle.embed_texts([query])[0]
    with browser(tmp_path / "profile") as tab:
        tab.call("Page.navigate", url=address)
        end = time.monotonic() + 120
        while tab.run("typeof search") != "function":
            assert time.monotonic() < end, tab.logged
            time.sleep(0.1)
        found = tab.run(f"search({json.dumps(query)})")
    own = np.argsort(-scores, kind="stable")[:FIRST]
    assert [url for _, url in found] == [f"pictures/{sized[at].name}" for at in own]
    np.testing.assert_allclose([score for score, _ in found], scores[own], atol=1e-3)


def test_a_picture_of_another_call_changes_no_embedding(
    for_transformers_js: tuple[Path, LayoutReport], in_node: dict[str, Any], bundle: Bundle, sized: list[Path]
) -> None:
    assert cosines(in_node["pictures"], bundle.embed_images(sized)).min() > 0.9999
