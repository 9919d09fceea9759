"""Format webdataset: members, splits, keys and what is refused."""

from __future__ import annotations

import io
import json
import pickle
import re
import tarfile

import numpy as np
import pytest

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats import webdataset
from conaclip_edge.data.load import read_pairs
from conaclip_edge.errors import UserError


def shard(path, **members):
    """Write a shard; a double underscore in a member's name stands for its first dot, a single one for a later dot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", ".").replace("_", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return DataConfig(format="webdataset", path=path)


def test_caption_is_taken_from_json_where_there_is_no_text(tmp_path):
    config = shard(
        tmp_path / "00000.tar",
        a__jpg=b"1",
        a__json=json.dumps({"caption": "from json", "exif": {"x": 1}}).encode(),
        b__png=b"2",
        b__txt=b"from text",
        b__json=json.dumps({"caption": "not this", "exif": None, "error_message": "later"}).encode(),
        c__webp=b"3",
        c__json=json.dumps({"captions": ["one", "two"]}).encode(),
        d__jpg=b"4",
    )
    pairs = read_pairs(config)
    assert list(pairs.captions) == [("from json",), ("from text",), ("one", "two"), ()]
    assert [pairs.read(i) for i in range(4)] == [b"1", b"2", b"3", b"4"]
    assert [key.split("#")[0] for key in pairs.keys] == ["a.jpg", "b.png", "c.webp", "d.jpg"]


def test_equal_keys_of_two_shards_are_two_pictures(tmp_path):
    for name in ("00000.tar", "00001.tar"):
        shard(tmp_path / name, a__jpg=name.encode(), a__txt=name.encode())
    pairs = read_pairs(DataConfig(format="webdataset", path=tmp_path))
    assert [pairs.read(i) for i in range(2)] == [b"00000.tar", b"00001.tar"]
    assert len(set(pairs.keys)) == 2


def test_splits_come_from_folders_and_shard_names(tmp_path):
    shard(tmp_path / "train" / "00000.tar", a__jpg=b"1", a__txt=b"x")
    shard(tmp_path / "val-000.tar", a__jpg=b"2", a__txt=b"x")
    shard(tmp_path / "test" / "00000.tar", a__jpg=b"3", a__txt=b"x")
    pairs = read_pairs(DataConfig(format="webdataset", path=tmp_path))
    assert {pairs.read(i): str(pairs.splits[i]) for i in range(3)} == {b"1": "train", b"2": "val", b"3": "test"}


def test_a_sample_with_a_member_twice_is_skipped(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("a.jpg", b"1"), ("a.txt", b"x"), ("b.jpg", b"2"), ("b.txt", b"x"), ("b.JPG", b"3")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    pairs = read_pairs(DataConfig(format="webdataset", path=path, max_bad=0.5))
    assert [pairs.read(row) for row in range(len(pairs))] == [b"1"]
    assert list(pairs.skipped) == ["a.tar b: has one of jpg, txt twice"]


def test_sample_without_picture_is_skipped(tmp_path):
    config = shard(tmp_path / "a.tar", a__jpg=b"1", a__txt=b"x", b__txt=b"y")
    pairs = read_pairs(config.model_copy(update={"max_bad": 0.5}))
    assert len(pairs) == 1
    assert list(pairs.skipped) == ["a.tar b: has no picture, only txt"]


class RunsCode:
    """Unpickling this calls a function of the test."""

    def __reduce__(self):
        return exec, ("raise AssertionError('a pickle was loaded')",)


@pytest.mark.parametrize("name", ["a__pkl", "a__pickle", "a__pyd", "a__pth", "a__PTH", "a__state_pt", "a__pkl_gz"])
def test_pickled_member_is_refused(tmp_path, name, cache):
    members = {"a__jpg": b"1", "a__txt": b"x", name: pickle.dumps(RunsCode())}
    with pytest.raises(
        UserError, match=r"00000\.tar: member 'a\..*' may be a pickle, which could run code\. Remove it"
    ):
        read_pairs(shard(tmp_path / "00000.tar", **members))
    assert not list(cache.rglob("*.arrow"))


def test_pickled_array_is_not_loaded(tmp_path):
    array = io.BytesIO()
    np.save(array, np.array([RunsCode()], dtype=object), allow_pickle=True)
    pairs = read_pairs(shard(tmp_path / "00000.tar", a__jpg=b"1", a__txt=b"x", a__npy=array.getvalue()))
    assert list(pairs.captions) == [("x",)]


def test_pictures_are_read_where_they_lie(tmp_path, cache):
    config = shard(tmp_path / "a.tar", a__jpg=b"p" * 100_000, a__txt=b"x", b__jpg=b"q" * 100_000, b__txt=b"y")
    pairs = read_pairs(config)
    assert [pairs.read(i) for i in (1, 0)] == [b"q" * 100_000, b"p" * 100_000]
    assert sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) < 10_000


def test_a_pass_that_was_killed_goes_on_with_the_next_shard(tmp_path, monkeypatch):
    for number in range(4):
        shard(tmp_path / f"{number}.tar", a__jpg=bytes([number]), a__txt=b"x")
    config, read, seen = DataConfig(format="webdataset", path=tmp_path), webdataset._rows, []

    def rows(folder, file):
        if file.name == "2.tar" and "2.tar" not in seen:
            seen.append(file.name)
            raise KeyboardInterrupt
        seen.append(file.name)
        return read(folder, file)

    monkeypatch.setattr(webdataset, "_rows", rows)
    monkeypatch.setattr(webdataset, "available_cores", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        read_pairs(config)
    pairs = read_pairs(config)
    assert [pairs.read(i) for i in range(4)] == [bytes([number]) for number in range(4)]
    assert sorted(seen) == ["0.tar", "1.tar", "2.tar", "2.tar", "3.tar"]


def test_a_shard_that_is_added_is_the_only_one_read(tmp_path, monkeypatch):
    config, read, seen = DataConfig(format="webdataset", path=tmp_path), webdataset._rows, []
    monkeypatch.setattr(webdataset, "_rows", lambda folder, file: seen.append(file.name) or read(folder, file))
    for name in ("0.tar", "1.tar"):
        shard(tmp_path / name, a__jpg=name.encode(), a__txt=b"x")
        assert len(read_pairs(config)) == len(seen)
    assert seen == ["0.tar", "1.tar"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"a__txt": b"x", "a__v1_jpg": b"1"},
            r"no member of .* is named like a picture .*00000\.tar a: has no picture, only txt, v1\.jpg\.",
        ),
        ({"a__jpg": b"1", "a__json": b"{"}, r"no picture in .*tar a: member 'a\.json': Expecting property name"),
        (
            {"a__jpg": b"1", "a__json": b""},
            r"no picture in .*tar a: member 'a\.json': is empty\. It must be a JSON obj",
        ),
        ({"a__jpg": b"1", "a__json": b"[1]"}, r"no picture in .*00000\.tar a: member 'a\.json': is a list"),
        (
            {"a__jpg": b"1", "a__json": b'{"text": 5}'},
            r"member 'a\.json': 'text' must be a text or a list of texts, no",
        ),
        ({"a__jpg": b"1", "a__txt": b"x\xff"}, r"tar a: member 'a\.txt': is not UTF-8 \(byte 0xff at 1\)\. Save it"),
        ({"a__jpg": b"1", "a__txt": b"x" * 2_000_000}, r"member 'a\.txt': has 2,000,000 bytes\. A caption has at most"),
    ],
)
def test_malformed_member_is_named(tmp_path, members, message):
    with pytest.raises(UserError, match=message):
        read_pairs(shard(tmp_path / "00000.tar", **members))


def test_truncated_shard_is_named(tmp_path):
    config = shard(tmp_path / "00000.tar", a__jpg=b"1" * 5000, a__txt=b"x")
    whole = config.path.read_bytes()
    config.path.write_bytes(whole[:3000])
    with pytest.raises(
        UserError, match=r"no picture in .*00000\.tar: member 'a\.jpg' is cut off: the file ends within"
    ):
        read_pairs(config)


def samples(path, names, count=20):
    """Write a shard of members in the given order, e.g. ("0.jpg", "0.txt", "1.jpg", ...), whose content is a name."""
    with tarfile.open(path, "w") as tar:
        for name in names(count):
            data = (b"\xff" if name == "3.txt!" else b"") + name.strip("!").encode()
            info = tarfile.TarInfo(name.strip("!"))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return DataConfig(format="webdataset", path=path, max_bad=0.1)


def test_members_that_lie_apart_are_joined(tmp_path):
    orders = {
        "beside": lambda n: [f"{i}.{kind}" for i in range(n) for kind in ("jpg", "txt")],
        "pictures first": lambda n: [f"{i}.{kind}" for kind in ("jpg", "txt") for i in range(n)],
        "texts first": lambda n: [f"{i}.{kind}" for kind in ("txt", "jpg") for i in range(n)],
        "upwards, then downwards": lambda n: [f"{i}.jpg" for i in range(n)] + [f"{n - 1 - i}.txt" for i in range(n)],
        "in folders": lambda n: [f"x/{i}.jpg" for i in range(n)] + [f"./x/{i}.txt" for i in range(n)],
    }
    for name, order in orders.items():
        pairs = read_pairs(samples(tmp_path / f"{name}.tar", order))
        assert len(pairs) == 20
        for i in range(20):
            assert (pairs.read(i).removeprefix(b"x/"), pairs.captions[i][0].removeprefix("./x/")) == (
                b"%d.jpg" % i,
                f"{i}.txt",
            ), name


def test_a_key_that_comes_again_behind_others_is_another_sample(tmp_path):
    config = samples(tmp_path / "a.tar", lambda _: ["0.jpg", "0.txt", "1.jpg", "1.txt", "0.jpg", "0.json"])
    assert len(read_pairs(config.model_copy(update={"max_bad": 1}))) == 2  # a picture of equal bytes, a broken JSON


@pytest.mark.parametrize("broken", ["3.txt!", "3.json"])
def test_one_broken_caption_costs_one_picture_and_is_named(tmp_path, broken):
    def members(count):
        for i in range(count):
            yield from (f"{i}.jpg", broken if i == 3 else f"{i}.txt")

    pairs = read_pairs(samples(tmp_path / "a.tar", members))
    assert [pairs.read(i) for i in range(len(pairs))] == [b"%d.jpg" % i for i in range(20) if i != 3]
    assert len(pairs.skipped) == 1
    assert re.match(rf"a\.tar 3: member '{broken.strip('!')}': ", pairs.skipped[0])


def test_of_a_shard_that_is_cut_off_what_is_whole_is_read(tmp_path):
    config = samples(tmp_path / "a.tar", lambda n: [f"{i}.{kind}" for i in range(n) for kind in ("txt", "jpg")])
    whole = config.path.read_bytes()
    config.path.write_bytes(whole[: 1024 * 39 + 512 + 2])  # within the last picture
    pairs = read_pairs(config)
    assert len(pairs) == 19
    assert pairs.skipped == [
        "a.tar: member '19.jpg' is cut off: the file ends within it",
        "a.tar 19: has no picture, only txt",
    ]


def test_what_lies_behind_a_broken_header_is_named(tmp_path):
    config = samples(tmp_path / "a.tar", lambda n: [f"{i}.{kind}" for i in range(n) for kind in ("jpg", "txt")])
    whole = bytearray(config.path.read_bytes())
    whole[1024 * 30 : 1024 * 30 + 512] = b"x" * 512
    config.path.write_bytes(whole)
    pairs = read_pairs(config)
    assert len(pairs) == 15
    assert re.fullmatch(r"a\.tar: what follows byte 30,720 of 51,200 is no member of a tar.*", pairs.skipped[0])


def test_a_shard_that_is_no_tar_is_one_broken_thing_among_others(tmp_path):
    config = samples(tmp_path / "a.tar", lambda n: [f"{i}.{kind}" for i in range(n) for kind in ("jpg", "txt")])
    (tmp_path / "b.tar").write_bytes(b"")
    (tmp_path / "c.tar").write_bytes(b"no tar" * 500)
    pairs = read_pairs(config.model_copy(update={"path": tmp_path}))
    assert len(pairs) == 20
    assert [each.split(" (")[0] for each in pairs.skipped] == ["b.tar: is no tar file", "c.tar: is no tar file"]


def test_files_that_a_mac_adds_are_no_samples(tmp_path):
    config = samples(tmp_path / "a.tar", lambda _: ["0.jpg", "._0.jpg", "0.txt", "._0.txt", ".DS_Store"])
    pairs = read_pairs(config)
    assert (list(pairs.captions), pairs.skipped) == ([("0.txt",)], [])


@pytest.mark.parametrize("kind", ["heic", "heif", "avif", "HEIC"])
def test_pictures_of_phones_are_pictures(tmp_path, kind):
    pairs = read_pairs(samples(tmp_path / "a.tar", lambda _: [f"0.{kind}", "0.txt"]))
    assert pairs.read(0) == f"0.{kind}".encode()
