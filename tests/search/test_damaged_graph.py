"""A graph file that is not the one that was written never reaches usearch, and indexing again mends it."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conaclip_edge.errors import UserError
from conaclip_edge.search import hnsw_graph
from conaclip_edge.search.index import open_index
from conaclip_edge.search.sqlite_store import FILE
from conaclip_edge.search.update import open_writer
from conaclip_edge.system.files import sha256_file
from tests.helpers.search.small_index import DIM, rows_of, write_pictures

GRAPH = "graph-1.usearch"
RED = np.eye(DIM, dtype=np.float32)[0]
AGAIN = "Make it again from the vectors beside it: conaclip-edge index with the same BUNDLE, PICTURES and --out."


@pytest.fixture(scope="module")
def made(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures/ and index/ of them, the graph included; tests change neither."""
    folder = tmp_path_factory.mktemp("damage")
    write_pictures(folder / "pictures", 40)
    with open_writer(bundle, folder / "pictures", folder / "index", waiting=20) as writer:
        writer.update()
    return folder


def flipped(byte: int) -> Callable[[Path], None]:
    def harm(index: Path) -> None:
        data = bytearray((index / GRAPH).read_bytes())
        data[byte] ^= 1
        (index / GRAPH).write_bytes(data)

    return harm


def set_hash(value: str | None) -> Callable[[Path], None]:
    def harm(index: Path) -> None:
        with sqlite3.connect(index / FILE) as connection:
            if value is None:
                connection.execute("DELETE FROM meta WHERE name = 'graph_sha256'")
            else:
                connection.execute("UPDATE meta SET value = ? WHERE name = 'graph_sha256'", (value,))
        connection.close()

    return harm


HARMS = {
    "rows": flipped(0),
    "head": flipped(20 * DIM),
    "middle": flipped(1500),
    "end": flipped(-1),
    "another hash": set_hash("ab" * 32),
    "an index of before hashes": set_hash(None),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_changed_graph_is_named_before_usearch_sees_it_and_mended(
    bundle: Path, made: Path, tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    shutil.copytree(made / "index", index)
    HARMS[harm](index)
    meta = dict(rows_of(index / FILE)["meta"])
    found, recorded = sha256_file(index / GRAPH)[:12], meta.get("graph_sha256", "")[:12]
    line = f"graph file {index / GRAPH} is damaged: its sha256 is {found}.., the index says {recorded}... {AGAIN}"
    with monkeypatch.context() as patch:
        patch.setattr(hnsw_graph.Index, "restore", lambda *_, **__: pytest.fail("usearch was given a changed file"))
        with pytest.raises(UserError, match=f"^{re.escape(line)}$"):
            open_index(index)
    with open_writer(bundle, made / "pictures", index) as writer:
        assert writer.update().encoded == 0
    assert open_index(index).search(RED, 10) == open_index(made / "index").search(RED, 10)


def test_a_graph_that_grew_has_a_new_hash(bundle: Path, made: Path, tmp_path: Path) -> None:
    for name in ("index", "pictures"):
        shutil.copytree(made / name, tmp_path / name)
    with sqlite3.connect(tmp_path / "index" / FILE) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'pictures'", (str(tmp_path / "pictures"),))
    connection.close()
    write_pictures(tmp_path / "pictures" / "more", 30, seed=1)
    with open_writer(bundle, tmp_path / "pictures", tmp_path / "index", waiting=20) as writer:
        writer.update()
    meta = dict(rows_of(tmp_path / "index" / FILE)["meta"])
    assert meta["generation"] == "2"
    assert meta["graph_sha256"] == sha256_file(tmp_path / "index" / "graph-2.usearch")
    assert len(open_index(tmp_path / "index").search(RED, 100)) == 70
