"""Malformed files of any shape give a UserError or a data set that can be read, never another exception."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import BadPicture
from conaclip_edge.errors import UserError

FEW = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MANY = settings(FEW, max_examples=100)
NAMES = st.sampled_from(["images", "annotations", "file_name", "filename", "sentences", "text", "split", "id", "a.jpg"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def survives(kind: str, name: str, data: bytes) -> None:
    """Read a folder that holds one file, all that it has, in caches of its own."""
    with tempfile.TemporaryDirectory() as place, mock.patch.dict(os.environ, HF_DATASETS_CACHE=f"{place}/cache"):
        folder = Path(place, "data")
        folder.mkdir()
        (folder / name).write_bytes(data)
        (folder / "a.jpg").write_bytes(b"x")
        try:
            pairs = read_pairs(DataConfig(format=kind, path=folder, max_bad=1))
        except UserError as error:
            message = str(error)
        else:
            message = ""
            reread(pairs)
    assert "\n" not in message


def reread(pairs: Pairs) -> None:
    """Ask for all that a data set holds; only a bad picture may fail."""
    for i, captions in enumerate(pairs.captions):
        assert all(isinstance(text, str) for text in captions)
        with contextlib.suppress(BadPicture):
            pairs.read(i)


def damaged(whole: bytes):
    """Cut a file at a place, leave a part out, and put some bytes there."""
    place = st.integers(0, len(whole))
    return st.builds(
        lambda a, b, new: whole[: min(a, b)] + new + whole[max(a, b) :], place, place, st.binary(max_size=40)
    )


FILES = {
    "imagefolder (jsonl)": ("imagefolder", "metadata.jsonl"),
    "imagefolder (csv)": ("imagefolder", "metadata.csv"),
    "parquet": ("parquet", "0000.parquet"),
    "webdataset": ("webdataset", "00000.tar"),
    "karpathy": ("karpathy", "dataset_coco.json"),
    "coco": ("coco", "captions_train2017.json"),
    "easynlp": ("easynlp", "train.tsv"),
}


@pytest.mark.parametrize("which", FILES)
@FEW
@given(data=st.data())
def test_damaged_file_is_named(which, data, writers, samples):
    kind, name = FILES[which]
    with tempfile.TemporaryDirectory() as place:
        writers[which](Path(place, "data"), samples[:3])
        whole = next(Path(place, "data").rglob(name)).read_bytes()
    survives(kind, name, data.draw(damaged(whole)))


@pytest.mark.parametrize("which", FILES)
@FEW
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_named(which, data):
    survives(*FILES[which], data)


@pytest.mark.parametrize("which", ["imagefolder (jsonl)", "karpathy", "coco"])
@MANY
@given(value=VALUES)
def test_json_of_any_shape_is_named(which, value):
    kind, name = FILES[which]
    survives(kind, name, json.dumps(value).encode())
