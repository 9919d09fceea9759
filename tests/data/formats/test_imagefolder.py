"""Format imagefolder: columns, splits, missing files and what is refused."""

from __future__ import annotations

import json
import os

import pytest

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.preprocess import BadPicture
from conaclip_edge.errors import UserError


def folder_of(path, rows, pictures=("a.jpg", "b.jpg", "c.jpg"), **settings):
    path.mkdir(parents=True)
    for name in pictures:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(name.encode())
    (path / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return DataConfig(format="imagefolder", path=path, **settings)


@pytest.mark.parametrize(
    ("row", "captions"),
    [
        ({"text": "one"}, ("one",)),
        ({"caption": "one"}, ("one",)),
        ({"captions": ["one", " two "]}, ("one", "two")),
        ({"captions": [], "text": "one"}, ("one",)),
        ({"captions": None, "caption": "  ", "text": "one"}, ("one",)),
        ({"text": "half an emoji \ud83d here"}, ("half an emoji \ufffd here",)),
    ],
)
def test_captions_come_from_the_first_column_that_has_any(tmp_path, row, captions):
    config = folder_of(tmp_path / "data", [{"file_name": "a.jpg"} | row])
    assert read_pairs(config).captions[0] == captions


def test_splits_come_from_folders(tmp_path):
    names = ("train/a.jpg", "validation/b.jpg", "test/c.jpg")
    config = folder_of(tmp_path / "data", [{"file_name": name, "text": "x"} for name in names], names)
    assert list(read_pairs(config).splits) == ["train", "val", "test"]


def test_splits_come_from_folders_with_metadata_of_their_own(tmp_path):
    for name in ("test", "train", "dev"):
        folder_of(tmp_path / "data" / name, [{"file_name": "a.jpg", "text": name}])
    pairs = read_pairs(DataConfig(format="imagefolder", path=tmp_path / "data"))
    held = zip(pairs.keys, pairs.splits, pairs.captions, strict=True)
    assert list(held) == [
        ("dev/a.jpg", "val", ("dev",)),
        ("test/a.jpg", "test", ("test",)),
        ("train/a.jpg", "train", ("train",)),
        ("train/b.jpg", "train", ()),  # those beside them are unpaired; those of dev and test may be held out
        ("train/c.jpg", "train", ()),
    ]


def test_split_column_wins_over_the_folder(tmp_path):
    rows = [
        {"file_name": "train/a.jpg", "text": "x", "split": "valid"},
        {"file_name": "b.jpg", "text": "x", "split": "TEST"},
        {"file_name": "c.jpg", "text": "x", "split": ""},
    ]
    config = folder_of(tmp_path / "data", rows, ("train/a.jpg", "b.jpg", "c.jpg"))
    assert list(read_pairs(config).splits) == ["val", "test", "train"]


def test_strange_split_is_told_with_the_nearest(tmp_path):
    config = folder_of(tmp_path / "data", [{"file_name": "a.jpg", "text": "x", "split": "vall"}])
    with pytest.raises(UserError, match=r"unknown split 'vall' in .*metadata\.jsonl line 1\. Did you mean 'val'\?"):
        read_pairs(config)


def test_missing_file_is_skipped_and_counts_towards_max_bad(tmp_path):
    rows = [{"file_name": name, "text": "x"} for name in ("a.jpg", "gone.jpg", "b.jpg", "c.jpg")]
    config = folder_of(tmp_path / "data", rows, max_bad=0.25)
    pairs = read_pairs(config)
    assert list(pairs.keys) == ["a.jpg", "b.jpg", "c.jpg"]
    assert [pairs.read(i) for i in range(3)] == [b"a.jpg", b"b.jpg", b"c.jpg"]
    assert list(pairs.skipped) == [f"gone.jpg: no such file in {tmp_path / 'data'}"]
    with pytest.raises(
        UserError, match=r"25\.0% of the pictures in .* more than data\.max_bad = 24\.0%\. First of 1 ski"
    ):
        read_pairs(config.model_copy(update={"max_bad": 0.24}))


def test_file_that_comes_back_is_no_longer_skipped(tmp_path):
    config = folder_of(
        tmp_path / "data", [{"file_name": name, "text": "x"} for name in ("a.jpg", "late.jpg")], ("a.jpg",), max_bad=1
    )
    assert len(read_pairs(config)) == 1
    (tmp_path / "data" / "late.jpg").write_bytes(b"late")
    assert len(read_pairs(config)) == 2


def test_all_files_missing_is_told(tmp_path):
    config = folder_of(tmp_path / "data", [{"file_name": "gone.jpg", "text": "x"}], ())
    with pytest.raises(UserError, match=r"no picture in .*data\. First of 1 skipped: gone\.jpg: no such file in"):
        read_pairs(config)


def test_file_that_vanishes_later_is_a_bad_picture(tmp_path):
    pairs = read_pairs(folder_of(tmp_path / "data", [{"file_name": "a.jpg", "text": "x"}]))
    (tmp_path / "data" / "a.jpg").unlink()
    with pytest.raises(BadPicture, match=r"a\.jpg cannot be read \(No such file"):
        pairs.read(0)


def test_picture_of_the_same_size_written_again_changes_the_fingerprint(tmp_path):
    config = folder_of(tmp_path / "data", [{"file_name": "a.jpg", "text": "x"}])
    before = read_pairs(config).fingerprint
    (tmp_path / "data" / "a.jpg").write_bytes(b"A.jpg")
    os.utime(tmp_path / "data" / "a.jpg", ns=(1, 1))
    assert read_pairs(config).fingerprint != before


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "/etc/passwd", "x/../../a.jpg", "..", "C:\\a.jpg", "C:a.jpg", "..\\a.jpg", "\\\\host\\share\\a.jpg"],
)
@pytest.mark.parametrize("kind", ["metadata.jsonl", "metadata.csv"])
def test_file_name_that_leaves_the_folder_is_refused(tmp_path, name, kind):
    (tmp_path / "a.jpg").write_bytes(b"x")
    folder = tmp_path / "data"
    folder.mkdir()
    text = json.dumps({"file_name": name, "text": "x"}) if kind.endswith("jsonl") else f"file_name,text\n{name},x\n"
    (folder / kind).write_text(text)
    with pytest.raises(
        UserError, match=r"metadata\.\w+ line \d \('file_name'\): file name .* could leave the picture fo"
    ):
        read_pairs(DataConfig(format="imagefolder", path=folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"file_name": "a.jpg"', r"metadata\.jsonl line 1: is not JSON: .*Every line must be an object"),
        ('\n["a.jpg"]', r"metadata\.jsonl line 2: is a list\. Every line must be an object"),
        ('{"text": "x"}', r"metadata\.jsonl line 1: names no picture file \('file_name'\)"),
        ('{"file_name": ["a.jpg"]}', r"metadata\.jsonl line 1: names no picture file \('file_name'\)"),
        ('{"file_name": "a.jpg", "text": 7}', r"line 1: 'text' must be a text or a list of texts, not '7'"),
        ('{"file_name": "a.jpg", "captions": [["x"]]}', r"line 1: 'captions' must be a text or a list of texts"),
        ('{"file_name": "\\ud800.jpg", "text": "x"}', r"cannot read .*: UnicodeEncodeError: .* surrogates not allowed"),
        ("[" * 100_000, r"metadata\.jsonl line 1: is not JSON: maximum recursion"),
    ],
)
def test_malformed_row_is_told_with_its_line(tmp_path, text, message):
    (tmp_path / "metadata.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        read_pairs(DataConfig(format="imagefolder", path=tmp_path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"file_name,text\na.jpg,one, two\n", r"metadata\.csv line 2: has more fields than the header\. Put texts"),
        (b"file_name,text\na.jpg\xff,x\n", r"metadata\.csv line 2: is not UTF-8 \(byte 0xff at 5\)\. Save it as UTF-8"),
        (b'file_name,text\na.jpg,"x', r"cannot read .*metadata\.csv: Error: unexpected end of data"),
        (b"name,text\na.jpg,x\n", r"metadata\.csv line 2: names no picture file \('file_name'\)\. It has: name, text"),
    ],
)
def test_malformed_csv_is_told(tmp_path, data, message):
    (tmp_path / "metadata.csv").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_pairs(DataConfig(format="imagefolder", path=tmp_path))


def test_two_kinds_of_metadata_are_refused(tmp_path):
    config = folder_of(tmp_path / "data", [{"file_name": "a.jpg", "text": "x"}])
    (tmp_path / "data" / "metadata.csv").write_text("file_name,text\na.jpg,y\n")
    with pytest.raises(UserError, match=r"data holds both metadata\.jsonl and metadata\.csv\. Remove one kind"):
        read_pairs(config)


def test_byte_order_mark_is_no_part_of_the_data(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "metadata.csv").write_bytes(b"\xef\xbb\xbffile_name,text\na.jpg,x\n")
    assert list(read_pairs(DataConfig(format="imagefolder", path=tmp_path)).keys) == ["a.jpg"]
