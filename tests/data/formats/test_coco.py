"""Format coco: splits, picture folders and what is refused."""

from __future__ import annotations

import json

import pytest

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.errors import UserError


def annotations(path, captions, pictures=None):
    """Write annotations {file name: captions} and, in the folder `pictures`, the files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": 10 * i, "file_name": name, "height": 1, "width": 1} for i, name in enumerate(captions)]
    notes = [
        {"image_id": 10 * i, "id": i, "caption": text} for i, texts in enumerate(captions.values()) for text in texts
    ]
    path.write_text(json.dumps({"info": {}, "licenses": [], "images": images, "annotations": notes[::-1]}))
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
        for name in captions:
            (pictures / name).write_bytes(name.encode())


def test_train_and_val_files_are_read_together_and_test_is_cut_from_train(tmp_path):
    for split in ("train", "val"):
        captions = {f"{split}{i}.jpg": ["x"] for i in range(60)}
        annotations(tmp_path / "annotations" / f"captions_{split}2017.json", captions, tmp_path / f"{split}2017")
    pairs = read_pairs(DataConfig(format="coco", path=tmp_path, test_fraction=0.5))
    assert {key for key, split in zip(pairs.keys, pairs.splits, strict=True) if split == "val"} == {
        f"val2017/val{i}.jpg" for i in range(60)
    }
    # of 60 pictures at one half: 6 standard deviations are 23
    assert 7 < len(pairs.rows("test")) < 53
    assert pairs.read(0) == b"train0.jpg"


def test_pictures_may_lie_in_one_folder_or_in_one_a_split(tmp_path):
    path = tmp_path / "captions_val2017.json"
    annotations(path, {"a.jpg": ["x"]}, tmp_path / "flat")
    annotations(path, {"a.jpg": ["x"]}, tmp_path / "deep" / "val2017")
    flat = read_pairs(DataConfig(format="coco", path=path, images=tmp_path / "flat"))
    deep = read_pairs(DataConfig(format="coco", path=path, images=tmp_path / "deep"))
    assert (list(flat.keys), list(deep.keys)) == (["a.jpg"], ["val2017/a.jpg"])
    assert flat.read(0) == deep.read(0) == b"a.jpg"


def test_captions_find_their_pictures_whatever_their_order(tmp_path):
    annotations(tmp_path / "captions_val2017.json", {"a.jpg": ["1", "2"], "b.jpg": [], "c.jpg": ["3"]}, tmp_path)
    assert list(read_pairs(DataConfig(format="coco", path=tmp_path)).captions) == [("2", "1"), (), ("3",)]


def test_instances_file_is_named(tmp_path):
    (tmp_path / "captions_train2017.json").write_text(json.dumps({"images": [], "categories": []}))
    with pytest.raises(UserError, match=r"captions_train2017\.json: 'annotations' must be a list, but it is missing"):
        read_pairs(DataConfig(format="coco", path=tmp_path))


@pytest.mark.parametrize(
    ("images", "notes", "message"),
    [
        (
            [{"id": 1, "file_name": "../a.jpg"}],
            [],
            r"images\[0\]: file name '\.\./a\.jpg' could leave the picture folder",
        ),
        ([{"id": 1, "file_name": "/a.jpg"}], [], r"images\[0\]: file name '/a\.jpg' could leave the picture folder"),
        ([{"id": "1", "file_name": "a.jpg"}], [], r"images\[0\]: 'id' must be a int, but it is '1'"),
        ([7], [], r"images\[0\]: 'file_name' must be a str, but it is missing"),
        ([], [{"image_id": 1}], r"annotations\[0\]: 'caption' must be a str, but it is missing"),
        ([], [{"image_id": 1, "caption": "x"}], r"annotations name image 1, which is not among its images"),
    ],
)
def test_annotations_of_another_shape_are_named(tmp_path, images, notes, message):
    (tmp_path / "captions_train2017.json").write_text(json.dumps({"images": images, "annotations": notes}))
    with pytest.raises(UserError, match=message):
        read_pairs(DataConfig(format="coco", path=tmp_path))


def test_pictures_that_no_file_names_are_unpaired_and_counted(tmp_path, capsys):
    annotations(tmp_path / "captions_train2017.json", {"a.jpg": ["x"], "b.jpg": ["y"]}, tmp_path / "train2017")
    for name in ("train2017/c.jpg", "unlabeled2017/d.jpg", "val2017/held-out.jpg", "test2017/held-out.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"picture")
    pairs = read_pairs(DataConfig(format="coco", path=tmp_path, val_fraction=0, test_fraction=0))
    assert dict(zip(pairs.keys, pairs.captions, strict=True)) == {
        "train2017/a.jpg": ("x",),
        "train2017/b.jpg": ("y",),
        "train2017/c.jpg": (),
        "unlabeled2017/d.jpg": (),
    }
    assert "2 of 4 pictures in" in capsys.readouterr().err


def test_pictures_of_a_folder_that_has_none_of_the_named_ones_are_not_taken(tmp_path):
    annotations(tmp_path / "captions_train2017.json", {"a.jpg": ["x"]})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.jpg").write_bytes(b"picture")
    with pytest.raises(UserError, match=r"First of 1 skipped: a\.jpg: no such file"):
        read_pairs(DataConfig(format="coco", path=tmp_path, images=tmp_path / "other"))
