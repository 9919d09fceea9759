"""Shards at a URL are what they are in a folder: the same data set, fetched once, read by ranges, and gone on with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.load import distill_recipe
from conaclip_edge.data import pixel_cache
from conaclip_edge.data.formats import remote_files
from conaclip_edge.data.formats.remote_files import RemoteFolder
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.distill.trainer import distill
from conaclip_edge.errors import UserError
from conaclip_edge.setup.data_summary import summarise
from tests.data.formats.test_stream import write_shards

URL = "memory://bucket/shards"


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    monkeypatch.setattr(remote_files, "PATIENCE", 0.0)
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def shards() -> Path:
    """Three shards in a folder, and the same at the URL."""
    write_shards(Path("shards"))
    upload(Path("shards"))
    return Path("shards")


def upload(folder: Path) -> None:
    store = fsspec.filesystem("memory")
    for file in folder.rglob("*"):
        if file.is_file():
            store.pipe(f"/bucket/shards/{file.relative_to(folder).as_posix()}", file.read_bytes())


def content(pairs: Pairs) -> list[tuple[str, tuple[str, ...], str, bytes]]:
    rows = range(len(pairs))
    return [(pairs.keys[row], tuple(pairs.captions[row]), pairs.splits[row], pairs.read(row)) for row in rows]


def counted(monkeypatch: pytest.MonkeyPatch, method: str) -> list[str]:
    names: list[str] = []
    real: Callable[..., Any] = getattr(RemoteFolder, method)

    def watched(self: RemoteFolder, file: Any, *more: Any) -> Any:
        names.append(getattr(file, "name", file))
        return real(self, file, *more)

    monkeypatch.setattr(RemoteFolder, method, watched)
    return names


def left(suffix: str) -> list[str]:
    return sorted(path.name for path in Path("runs").rglob(f"*{suffix}"))


def test_shards_at_a_url_are_the_data_set_that_they_are_in_a_folder(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, ranges = (counted(monkeypatch, method) for method in ("fetch", "read"))
    local, remote = read_pairs(DataConfig(path=shards)), read_pairs(DataConfig(url=URL))
    assert content(remote) == content(local)
    assert remote.fingerprint == local.fingerprint
    assert sorted(fetched) == ["00000.tar", "00001.tar", "00002.tar"]
    assert len(ranges) == len(local)
    assert left(".tar") == []
    assert content(read_pairs(DataConfig(url=URL))) == content(local)
    assert len(fetched) == 3  # the indices are there


def test_a_recipe_and_info_need_no_format_where_a_url_is_named(shards: Path) -> None:
    Path("recipe.yaml").write_text(f"teacher: teacher\ndata: {{url: '{URL}'}}\n", "utf-8")
    named = distill_recipe(Path("recipe.yaml"), [], check=True).data
    assert content(read_pairs(named)) == content(read_pairs(DataConfig(path=shards)))
    assert summarise(named)[0].format == "webdataset"


def test_a_local_copy_is_made_once_and_nothing_else_is_asked_for(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DataConfig(url=URL, local_copy=True)
    fetched, ranges = [], counted(monkeypatch, "read")
    local = content(read_pairs(DataConfig(path=shards)))
    assert content(read_pairs(config)) == local
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.get_file", lambda *_: fetched.append(1))
    assert content(read_pairs(config)) == local
    assert (fetched, ranges) == ([], [])
    assert left(".tar") == ["00000.tar", "00001.tar", "00002.tar"]


def test_parquet_at_a_url_is_read_from_a_copy() -> None:
    table = {"image": pa.array([b"one", b"two", b"three"]), "text": ["1", "2", "3"]}
    Path("tables").mkdir()
    pq.write_table(pa.table(table), "tables/train-0.parquet")
    upload(Path("tables"))
    shutil.move("tables", "shards")
    assert content(read_pairs(DataConfig(url=URL))) == content(read_pairs(DataConfig(path=Path("shards"))))


@pytest.mark.parametrize("url", ["memory://bucket/shards/{00000..00002}.tar", "memory://bucket/{00..00}shards"])
def test_braces_stand_for_numbers(shards: Path, url: str) -> None:
    if url.endswith("shards"):
        fsspec.filesystem("memory").move("/bucket/shards", "/bucket/00shards", recursive=True)
    assert len(read_pairs(DataConfig(url=url))) == len(read_pairs(DataConfig(path=shards)))


def test_a_shard_that_changed_is_fetched_again_alone(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_pairs(DataConfig(url=URL)).fingerprint
    write_shards(Path("more"), 5)
    fsspec.filesystem("memory").pipe("/bucket/shards/00001.tar", Path("more/00003.tar").read_bytes())
    fetched = counted(monkeypatch, "fetch")
    assert read_pairs(DataConfig(url=URL)).fingerprint != before
    assert fetched == ["00001.tar"]


def test_a_pass_that_broke_goes_on(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get = fsspec.get_filesystem_class("memory").get_file

    def breaks(self: Any, path: str, target: str) -> Any:
        if path.endswith("00002.tar"):
            Path(target).write_bytes(b"half")
            raise ConnectionError("reset by peer")
        return get(self, path, target)

    with monkeypatch.context() as patch:
        patch.setattr("fsspec.implementations.memory.MemoryFileSystem.get_file", breaks)
        with pytest.raises(
            UserError, match=r"^cannot read memory://bucket/shards: 00002\.tar \(ConnectionError: reset"
        ):
            read_pairs(DataConfig(url=URL))
    fetched = counted(monkeypatch, "fetch")
    assert content(read_pairs(DataConfig(url=URL))) == content(read_pairs(DataConfig(path=shards)))
    assert fetched == ["00002.tar"]


@pytest.mark.usefixtures("shards")
def test_a_store_that_fails_is_asked_again_and_never_costs_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = read_pairs(DataConfig(url=URL))
    cat, asked = fsspec.get_filesystem_class("memory").cat_file, []

    def fails(times: int) -> Any:
        def answer(self: Any, *given: Any, **more: Any) -> Any:
            asked.append(1)
            if len(asked) <= times:
                raise TimeoutError("slow down")
            return cat(self, *given, **more)

        return answer

    wanted = pairs.read(0)
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.cat_file", fails(2))
    assert pairs.read(0) == wanted
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.cat_file", fails(10**6))
    with pytest.raises(UserError, match=r"^cannot read .*TimeoutError: slow down.* the same command goes on\.$"):
        pairs.read(0)
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.cat_file", lambda *_, **__: b"all of it")
    with pytest.raises(UserError, match=r"came 9 bytes, not .* without ranges needs data\.local_copy=true"):
        pairs.read(0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": "memory://nowhere"}, r"no \.tar or \.parquet at memory://nowhere\. Correct data\.url\."),
        ({"url": "gopher://host/x"}, r"data\.url = gopher://host/x: Protocol not known"),
        ({"url": "s3://b/x"}, r"data\.url: s3:// needs another package: Install s3fs"),
        ({"url": URL, "path": Path("shards"), "format": "webdataset"}, r"data\.path and data\.url are both set"),
        ({"url": URL, "format": "coco"}, r"data\.url is not read by format 'coco'"),
    ],
)
@pytest.mark.usefixtures("shards")
def test_what_cannot_be_read_is_named_in_a_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_pairs(DataConfig(**values))


@pytest.mark.usefixtures("shards")
def test_a_name_that_leaves_the_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"/bucket/shards/../../out.tar": {"size": 1}}
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.find", lambda *_, **__: listed)
    with pytest.raises(UserError, match=r"file name '\.\./\.\./out\.tar' could leave the picture folder"):
        read_pairs(DataConfig(url=URL))


def test_a_training_on_ranges_by_workers_is_the_one_on_files(
    settings: Any, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_cache, "LIMIT_BYTES", 0)
    base = settings(steps=3, batch_size=8, workers=2)
    fractions = {"val_fraction": 0.2, "test_fraction": 0}
    for name, data in (("local", {"path": shards}), ("remote", {"url": URL})):
        distill(base.model_copy(update={"data": DataConfig(**data, **fractions)}), Path(name))
    local, remote = (Path(name, "model.safetensors").read_bytes() for name in ("local", "remote"))
    assert remote == local
