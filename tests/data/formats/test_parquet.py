"""Format parquet: column layouts, splits, pictures found in several splits and what is refused."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.errors import UserError


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return DataConfig(format="parquet", path=path)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("column", ["image", "bytes"])
def test_column_of_plain_bytes_is_read(tmp_path, column, kind):
    pairs = read_pairs(write(tmp_path / "a.parquet", **{column: pa.array([b"one", b"two"], kind), "text": ["1", "2"]}))
    assert [pairs.read(i) for i in range(2)] == [b"one", b"two"]
    assert list(pairs.captions) == [("1",), ("2",)]


def test_file_that_datasets_wrote_is_read_without_decoding(tmp_path):
    features = Features({"image": Image(), "text": Value("string"), "unused": Value("int64")})
    rows = [{"image": {"bytes": b"no picture", "path": "/home/me/a.jpg"}, "text": "x", "unused": 1}]
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "a.parquet")
    pairs = read_pairs(DataConfig(format="parquet", path=tmp_path))
    assert (pairs.read(0), pairs.captions[0], pairs.keys[0][:6]) == (b"no picture", ("x",), "a.jpg#")


def test_splits_come_from_file_names_folders_and_the_column(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet", image=[b"0"], text=["x"])
    write(tmp_path / "validation-00000-of-00001.parquet", image=[b"1"], text=["x"])
    write(tmp_path / "test" / "0000.parquet", image=[b"2"], text=["x"])
    pairs = read_pairs(DataConfig(format="parquet", path=tmp_path))
    assert {pairs.read(i): str(pairs.splits[i]) for i in range(3)} == {b"0": "train", b"1": "val", b"2": "test"}
    pairs = read_pairs(write(tmp_path / "one.parquet", image=[b"3", b"4"], text=["x", "x"], split=["test", "dev"]))
    assert list(pairs.splits) == ["test", "val"]


def test_picture_in_train_and_test_is_only_tested_on(tmp_path):
    write(tmp_path / "train.parquet", image=[b"leaked", b"own", b"own val"], text=["from train", "own", "x"])
    write(tmp_path / "val.parquet", image=[b"own val"], text=["from val"])
    write(tmp_path / "test.parquet", image=[b"leaked", b"leaked"], text=["from test", "again"])
    pairs = read_pairs(DataConfig(format="parquet", path=tmp_path))
    held = {pairs.read(i): (str(pairs.splits[i]), pairs.captions[i]) for i in range(len(pairs))}
    assert held == {
        b"leaked": ("test", ("from test", "again")),
        b"own": ("train", ("own",)),
        b"own val": ("val", ("from val",)),
    }


def test_row_without_bytes_is_skipped(tmp_path):
    config = write(
        tmp_path / "a.parquet",
        image=[{"bytes": b"x", "path": "a.jpg"}, {"bytes": None, "path": "/b.jpg"}, None, {"bytes": b"", "path": None}],
        text=["1", "2", "3", "4"],
    )
    pairs = read_pairs(config.model_copy(update={"max_bad": 0.8}))
    assert len(pairs) == 1
    assert [reason.rsplit("/", 1)[-1] for reason in pairs.skipped] == [
        "b.jpg: has no picture bytes",
        "a.parquet, train row 2: has no picture bytes",
        "a.parquet, train row 3: has no picture bytes",
    ]
    with pytest.raises(UserError, match=r"75\.0% of the pictures in .*a\.parquet cannot be used"):
        read_pairs(config)


def test_file_name_with_signs_of_a_pattern_is_taken_as_it_is(tmp_path):
    write(tmp_path / "a.parquet", image=[b"no"], text=["x"])
    pairs = read_pairs(write(tmp_path / "[ab]*.parquet", image=[b"yes"], text=["x"]))
    assert pairs.read(0) == b"yes"


def test_changed_file_of_the_same_path_is_read_again(tmp_path):
    before = read_pairs(write(tmp_path / "a.parquet", image=[b"one"], text=["x"]))
    after = read_pairs(write(tmp_path / "a.parquet", image=[b"other one"], text=["x"]))
    assert (before.read(0), after.read(0)) == (b"one", b"other one")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"image": ["a.jpg"], "text": ["x"]},
            r"no column of pictures: image or bytes\. It has: image \(string\), text",
        ),
        ({"picture": [b"x"], "text": ["x"]}, r"no column of pictures: image or bytes\. It has: picture \(binary\)"),
        ({"image": [b"x"], "text": [5]}, r"a\.parquet, train row 0: 'text' must be a text or a list of texts, not '5'"),
        ({"image": [b"x"], "text": ["x"], "split": [3]}, r"unknown split '3' in .*a\.parquet, train row 0\."),
        (
            {"image": [b"x"], "text": ["x"], "split": ["tset"]},
            r"unknown split 'tset' in .* row 0\. Did you mean 'test'",
        ),
    ],
)
def test_other_columns_are_named(tmp_path, columns, message):
    with pytest.raises(UserError, match=message):
        read_pairs(write(tmp_path / "a.parquet", **columns))


def test_pictures_without_a_column_of_captions_are_unpaired_and_the_columns_are_named(tmp_path, capsys):
    config = write(tmp_path / "a.parquet", image=[b"x", b"y"], label=[1, 2])
    assert list(read_pairs(config, captions_needed=False).captions) == [(), ()]
    assert "a.parquet has no column of captions (captions, caption, texts, text, " in capsys.readouterr().err
    with pytest.raises(UserError, match=r"none of the 2 pictures in .*a\.parquet has a caption\. Format 'parquet' is"):
        read_pairs(config)
    assert "It has: image (binary), label (int64)." in capsys.readouterr().err


def test_captions_of_several_columns_are_joined_and_said(tmp_path, capsys):
    columns = {"image": [b"x"], "caption_0": ["a"], "caption_1": [None], "caption_2": ["['b', 'c']"], "text": ["t"]}
    assert list(read_pairs(write(tmp_path / "a.parquet", **columns)).captions) == [("a", "b", "c")]
    said = capsys.readouterr().err
    assert "a.parquet are those in caption_0, caption_1, caption_2; text only where that is empty." in said


def test_file_that_is_no_parquet_is_named(tmp_path):
    write(tmp_path / "a.parquet", image=[b"x"], text=["x"])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match=r"cannot read .*: ArrowInvalid: .* Repair or remove the file"):
        read_pairs(DataConfig(format="parquet", path=tmp_path))


def test_pictures_stay_on_disk(tmp_path):
    data = [bytes([i]) * 100_000 for i in range(200)]
    config = write(tmp_path / "a.parquet", image=data, text=["x"] * len(data))
    read_pairs(config)
    before = pa.total_allocated_bytes()
    pairs = read_pairs(config)
    assert sum(len(pairs.read(i)) for i in range(len(pairs))) == 20_000_000
    assert pa.total_allocated_bytes() - before < 1_000_000
