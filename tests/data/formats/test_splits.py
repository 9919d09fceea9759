"""Splits: names, and the shares cut from train."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import pytest

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.splits import fill_splits, split_of_folder, split_of_table
from conaclip_edge.errors import UserError

KEYS = [f"picture {i}" for i in range(3000)]
TRAIN = np.full(3000, "train", dtype="<U5")


def filled(splits=TRAIN, keys=KEYS, **fractions):
    return fill_splits(splits, keys, DataConfig(format="imagefolder", **fractions))


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("00000.tar", "train"),
        ("test/00000.tar", "test"),
        ("validation-00000-of-00002.parquet", "val"),
        ("captions_val2017.json", "val"),
        ("MUGE_MR_test_base64_part.tsv", "test"),
        ("Dev.tsv", "val"),
        ("train/test.parquet", "train"),
        ("latest.parquet", "train"),
        ("contest/testament.tar", "train"),
    ],
)
def test_split_of_a_table_is_a_folder_or_a_whole_word(path, split):
    assert split_of_table(PurePosixPath(path)) == split


def test_picture_named_test_is_not_in_the_test_split():
    assert split_of_folder(PurePosixPath("pictures/test.jpg")) == "train"


def test_shares_are_those_asked_for():
    splits = filled(val_fraction=0.2, test_fraction=0.3)
    # 6 standard deviations of 3000 draws
    assert abs(np.mean(splits == "val") - 0.2) < 6 * (0.2 * 0.8 / 3000) ** 0.5
    assert abs(np.mean(splits == "test") - 0.3) < 6 * (0.3 * 0.7 / 3000) ** 0.5


def test_order_of_keys_does_not_matter():
    assert np.array_equal(filled(keys=KEYS[::-1])[::-1], filled())


def test_test_split_stays_when_the_val_fraction_changes():
    small, large = filled(val_fraction=0.05), filled(val_fraction=0.4)
    assert np.array_equal(small == "test", large == "test")
    assert np.all((large == "val")[small == "val"])


def test_split_is_the_same_on_every_machine():
    # blake2b-64 of a key as hex digits after the point: below 0.3 test, below 0.6 val
    splits = filled(val_fraction=0.3, test_fraction=0.3)[:12]
    assert " ".join(splits) == "val val train val val val val train train train test val"


def test_split_that_the_source_has_is_left_alone():
    own = TRAIN.copy()
    own[:10] = "val"
    splits = filled(own, val_fraction=0.5, test_fraction=0.2)
    assert np.array_equal(splits == "val", own == "val")
    assert 0.1 < np.mean(splits == "test") < 0.3
    own[10:20] = "test"
    assert np.array_equal(filled(own, val_fraction=0.5, test_fraction=0.5), own)


def test_no_fraction_leaves_all_in_train():
    assert set(filled(val_fraction=0, test_fraction=0)) == {"train"}


def test_fractions_that_leave_nothing_are_named():
    with pytest.raises(
        UserError, match=r"data\.val_fraction = 0\.5 and data\.test_fraction = 0\.5 leave nothing to tra"
    ):
        filled(val_fraction=0.5, test_fraction=0.5)


@pytest.mark.parametrize(
    ("count", "sizes"), [(3000, None), (60, (40, 10, 10)), (20, (10, 5, 5)), (4, (2, 1, 1)), (3, (3, 0, 0))]
)
def test_few_pictures_have_splits_of_a_sensible_size(count, sizes):
    for first in range(0, 200, 7):
        keys = [f"picture {i}" for i in range(first, first + count)]
        splits = filled(TRAIN[:count], keys)
        found = tuple(int(np.sum(splits == name)) for name in ("train", "val", "test"))
        if sizes is None:
            assert found[1] > 200
        else:
            assert min(found) >= min(sizes)
            assert found[0] <= sizes[0]


def test_pictures_without_captions_stay_in_train_where_others_have_them():
    captioned = np.arange(3000) % 30 == 0
    splits = fill_splits(TRAIN, KEYS, DataConfig(format="imagefolder"), captioned)
    assert set(splits[~captioned]) == {"train"}
    assert np.sum(splits == "val") >= 10
    assert np.sum(splits == "test") >= 10
    assert "val" in fill_splits(TRAIN, KEYS, DataConfig(format="imagefolder"), np.zeros(3000, bool))
