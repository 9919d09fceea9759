"""Format imagefolder: columns, splits, missing files and what is refused."""

from __future__ import annotations

import json
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
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


def test_strange_split_is_named_with_the_nearest(tmp_path):
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


def test_all_files_missing_is_named(tmp_path):
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
def test_malformed_row_is_named_with_its_line(tmp_path, text, message):
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
def test_malformed_csv_is_named(tmp_path, data, message):
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


def picture_files(folder, **texts):
    """Write pictures whose bytes are their names; a value is the content of the file beside, None for no file."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").write_bytes(name.encode())
        if text is not None:
            (folder / f"{name}.txt").write_bytes(text)
    return DataConfig(path=folder, max_bad=0.5)


def held(pairs):
    return dict(zip(pairs.keys, pairs.captions, strict=True))


def test_captions_come_from_the_files_beside_the_pictures(tmp_path, capsys):
    texts = {"a": b"one\n\n two \r\n", "x/b": "\ufeffdrei".encode(), "c": b"", "d": None}
    pairs = read_pairs(picture_files(tmp_path / "d", **texts))
    assert held(pairs) == {"a.jpg": ("one", "two"), "x/b.jpg": ("drei",), "c.jpg": (), "d.jpg": ()}
    assert [pairs.read(i) for i in range(4)] == [name.removesuffix(".jpg").encode() for name in pairs.keys]
    assert "2 of 4 pictures in" in capsys.readouterr().err


def test_a_text_that_changes_is_read_again(tmp_path):
    config = picture_files(tmp_path / "d", a=b"one")
    before = read_pairs(config)
    (tmp_path / "d" / "a.txt").write_bytes(b"another")
    after = read_pairs(config)
    assert (list(before.captions), list(after.captions)) == ([("one",)], [("another",)])
    picture_files(tmp_path / "d", b=b"two")
    assert len(read_pairs(config)) == 2


def test_a_text_that_is_not_utf8_costs_its_picture_and_is_named(tmp_path):
    pairs = read_pairs(picture_files(tmp_path / "d", a=b"one", b=b"caf\xe9", c=b"three"))
    assert list(pairs.keys) == ["a.jpg", "c.jpg"]
    assert pairs.skipped == ["b.txt: is not UTF-8 (byte 0xe9 at 3). Save it as UTF-8"]


def test_pictures_without_any_caption_are_data_where_none_is_needed(tmp_path):
    config = picture_files(tmp_path / "d", **{f"p{i}": None for i in range(60)})
    pairs = read_pairs(config, captions_needed=False)
    assert [len(pairs.rows(split)) for split in ("train", "val", "test")] == [40, 10, 10]
    with pytest.raises(UserError, match=r"none of the 60 pictures in .*d has a caption\. Format 'imagefolder' is"):
        read_pairs(config)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_pictures_that_the_metadata_does_not_name_are_unpaired_train_pictures(tmp_path, kind, capsys):
    names = [f"{i}.jpg" for i in range(60)]
    config = folder_of(tmp_path / "data", [{"file_name": name, "text": "x"} for name in names[:40]], names)
    lines = [f"{name}{{0}}a caption" for name in ["file_name", *names[:40]]]
    lines[0] = "file_name{0}text"
    (tmp_path / "data" / "metadata.jsonl").rename(tmp_path / "kept.jsonl")
    file = tmp_path / "data" / f"metadata.{kind}"
    if kind == "jsonl":
        (tmp_path / "kept.jsonl").rename(file)
    elif kind == "parquet":
        pq.write_table(pa.table({"file_name": names[:40], "text": ["x"] * 40}), file)
    else:
        file.write_text("\n".join(lines).format("," if kind == "csv" else "\t"))
    pairs = read_pairs(config)
    unnamed = [i for i, captions in enumerate(pairs.captions) if not captions]
    assert sorted(pairs.keys[i] for i in unnamed) == sorted(names[40:])
    assert {str(pairs.splits[i]) for i in unnamed} == {"train"}
    assert [len(pairs.rows(split)) for split in ("train", "val", "test")] == [40, 10, 10]
    assert "20 of 60 pictures in" in capsys.readouterr().err


def test_unnamed_pictures_beside_named_ones_of_val_are_left_out_and_said(tmp_path, capsys):
    names = ("train/a.jpg", "train/b.jpg", "val/a.jpg", "val/b.jpg")
    config = folder_of(tmp_path / "data", [{"file_name": name, "text": "x"} for name in names[::2]], names)
    assert sorted(read_pairs(config).keys) == ["train/a.jpg", "train/b.jpg", "val/a.jpg"]
    assert "1 pictures in folders of val and test" in capsys.readouterr().err


def test_unnamed_pictures_have_the_captions_beside_them(tmp_path):
    config = folder_of(tmp_path / "data", [{"file_name": "a.jpg", "text": "x"}])
    (tmp_path / "data" / "b.txt").write_text("from the file")
    assert held(read_pairs(config)) == {"a.jpg": ("x",), "b.jpg": ("from the file",), "c.jpg": ()}


@pytest.mark.parametrize(
    ("row", "captions"),
    [
        ('"[""one"", ""it\'s two""]",', ("one", "it's two")),
        ('"[\'one\', ""it\'s two""]",', ("one", "it's two")),
        ("\"['one' 'two'\n 'three']\",", ("one", "two", "three")),
        ("[laughs],", ("[laughs]",)),
        ("one,two", ("one", "two")),
        (",two", ("two",)),
    ],
)
def test_cells_hold_lists_and_columns_are_numbered(tmp_path, row, captions, capsys):
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "metadata.csv").write_text(f"file_name,caption,caption_1,text\na.jpg,{row},never\n")
    assert held(read_pairs(DataConfig(path=tmp_path))) == {"a.jpg": captions}
    assert "metadata.csv are those in caption, caption_1; text only where that is empty." in capsys.readouterr().err


def test_one_broken_row_is_one_broken_picture(tmp_path):
    names = [f"{i}.jpg" for i in range(20)]
    config = folder_of(tmp_path / "data", [{"file_name": name, "text": name} for name in names], names, max_bad=0.1)
    file = tmp_path / "data" / "metadata.jsonl"
    lines = file.read_bytes().splitlines()
    lines[3] = b'{"file_name": "3.jpg", "text": "\xff"}'
    file.write_bytes(b"\n".join(lines))
    pairs = read_pairs(config)
    assert len(pairs.skipped) == 1
    assert re.search(r"metadata\.jsonl line 4: is not UTF-8 \(byte 0xff at", pairs.skipped[0])
    assert sum(map(len, pairs.captions)) == 19


@pytest.mark.parametrize("name", ["labels.csv", "Captions.CSV"])
@pytest.mark.parametrize("column", ["file_name", "image", "Filename"])
def test_a_table_of_any_name_that_names_pictures_is_metadata(tmp_path, name, column):
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "Über 1.JPG").write_bytes(b"x")
    composed = "U\u0308ber 1.jpg"  # another spelling of the same name, as a Mac writes it
    (tmp_path / name).write_text(f"{column},caption\n{composed},a disc\n")
    assert held(read_pairs(DataConfig(path=tmp_path))) == {"Images/Über 1.JPG": ("a disc",)}


def test_tables_of_splits_give_the_splits(tmp_path):
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
        (tmp_path / f"{name}.csv").write_text(f"image,caption\n{name}.jpg,x\n")
    pairs = read_pairs(DataConfig(path=tmp_path))
    assert dict(zip(pairs.keys, pairs.splits, strict=True)) == {f"{s}.jpg": s for s in ("train", "val", "test")}
    alone = read_pairs(DataConfig(path=tmp_path / "train.csv"))
    assert list(alone.keys) == ["train.jpg"]  # no picture of the other tables is unpaired data


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    for kind in ("imagefolder", "webdataset", "parquet", "coco", "karpathy", "easynlp"):
        with pytest.raises(
            UserError, match=rf"a\.jpg is a file\. Format '{kind}' is .*; name its folder, or a file en"
        ):
            read_pairs(DataConfig(format=kind, path=tmp_path / "a.jpg"))
