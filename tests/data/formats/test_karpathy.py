"""Format karpathy: splits, picture folders and what is refused."""

from __future__ import annotations

import json

import pytest

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.errors import UserError


def image(name, split="train", raw=("x",), **more):
    return {"filename": name, "split": split, "sentences": [{"raw": text, "tokens": []} for text in raw]} | more


def data_set(folder, images, name="dataset_flickr30k.json", present=True):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for one in images if present else ():
        path = folder / "images" / one.get("filepath", "") / one["filename"]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(one["filename"].encode())
    (folder / name).write_text(json.dumps({"images": images, "dataset": "flickr30k"}))
    return DataConfig(format="karpathy", path=folder / name, images=folder / "images")


def test_splits_are_karpathys_and_restval_is_train(tmp_path):
    images = [image(f"{split}.jpg", split) for split in ("train", "restval", "val", "test")]
    pairs = read_pairs(data_set(tmp_path, images))
    assert list(pairs.splits) == ["train", "train", "val", "test"]


def test_five_captions_keep_their_order(tmp_path):
    raw = ("Two men.", "A man. ", "5 men", "men", "men")
    pairs = read_pairs(data_set(tmp_path, [image("1000092795.jpg", raw=raw)]))
    assert pairs.captions[0] == ("Two men.", "A man.", "5 men", "men", "men")


def test_flickr_has_no_filepath_and_coco_has_one(tmp_path):
    pairs = read_pairs(data_set(tmp_path, [image("a.jpg"), image("b.jpg", filepath="val2014")]))
    assert list(pairs.keys) == ["a.jpg", "val2014/b.jpg"]
    assert [pairs.read(i) for i in range(2)] == [b"a.jpg", b"b.jpg"]


def test_folder_that_holds_the_json_will_do(tmp_path):
    config = data_set(tmp_path, [image("a.jpg")])
    assert len(read_pairs(config.model_copy(update={"path": tmp_path}))) == 1


def test_folder_with_two_data_sets_is_refused(tmp_path):
    config = data_set(tmp_path, [image("a.jpg")])
    data_set(tmp_path, [image("a.jpg")], "dataset_coco.json")
    with pytest.raises(UserError, match=r"holds 2 files named dataset_\*\.json\. Name one of them in data\.path"):
        read_pairs(config.model_copy(update={"path": tmp_path}))


def test_missing_picture_folder_is_named(tmp_path):
    config = data_set(tmp_path, [image("a.jpg")])
    with pytest.raises(UserError, match=r"no picture folder .*nowhere\. Correct data\.images"):
        read_pairs(config.model_copy(update={"images": tmp_path / "nowhere"}))


def test_wrong_picture_folder_is_named(tmp_path):
    config = data_set(tmp_path, [image("a.jpg")])
    with pytest.raises(
        UserError, match=r"First of 1 skipped: a\.jpg: no such file in .*Format 'karpathy' is .*data\.im"
    ):
        read_pairs(config.model_copy(update={"images": tmp_path}))


@pytest.mark.parametrize("one", [image("../a.jpg"), image("/a.jpg"), image("a.jpg", filepath="../x"), image("..")])
def test_file_name_that_leaves_the_picture_folder_is_refused(tmp_path, one):
    with pytest.raises(UserError, match=r"images\[0\]: file name .* could leave the picture folder"):
        read_pairs(data_set(tmp_path, [one], present=False))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], r"dataset_x\.json: 'images' must be a list, but it is missing\. Correct data\.format or the file"),
        ({"images": {}}, r"dataset_x\.json: 'images' must be a list, but it is '\{\}'"),
        ({"images": ["a.jpg"]}, r"images\[0\]: 'filename' must be a str, but it is missing"),
        ({"images": [image(7)]}, r"images\[0\]: 'filename' must be a str, but it is '7'"),
        ({"images": [image("a.jpg", split=None)]}, r"images\[0\]: 'split' must be a str, but it is 'None'"),
        ({"images": [image("a.jpg", split="trial")]}, r"unknown split 'trial' in .*images\[0\]\. Did you mean 'train'"),
        ({"images": [image("a.jpg") | {"sentences": [{}]}]}, r"images\[0\]\.sentences: 'raw' must be a str"),
        (
            {"images": [{"filename": "a", "split": "val"}]},
            r"images\[0\]: 'sentences' must be a list, but it is missing",
        ),
    ],
)
def test_json_of_another_shape_is_named(tmp_path, document, message):
    (tmp_path / "dataset_x.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=message):
        read_pairs(DataConfig(format="karpathy", path=tmp_path))


@pytest.mark.parametrize("data", [b"", b'{"images": [', b"\xff", b"[" * 100_000])
def test_file_that_is_no_json_is_named(tmp_path, data):
    (tmp_path / "dataset_x.json").write_bytes(data)
    with pytest.raises(UserError, match=r"cannot read data set .*dataset_x\.json: "):
        read_pairs(DataConfig(format="karpathy", path=tmp_path))


def test_pictures_that_the_file_does_not_name_are_unpaired_and_counted(tmp_path, capsys):
    config = data_set(tmp_path, [image("a.jpg")])
    (tmp_path / "images" / "b.jpg").write_bytes(b"picture")
    pairs = read_pairs(config.model_copy(update={"val_fraction": 0, "test_fraction": 0}))
    assert [list(pairs.keys), list(map(len, pairs.captions))[1]] == [["a.jpg", "b.jpg"], 0]
    assert "1 of 2 pictures in" in capsys.readouterr().err
