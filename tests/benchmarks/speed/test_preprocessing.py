"""The axis preprocessing: its picture is a camera's, its ratios are of the calls that they name."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from conaclip_edge.benchmarks.speed.axes import preprocessing
from conaclip_edge.benchmarks.speed.two_clocks import Times
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.data.preprocess import decode, pixel_values, to_pixels


@pytest.fixture(scope="module")
def grainy() -> bytes:
    return preprocessing.camera_jpeg(preprocessing.GRAIN)


def test_the_picture_has_a_camera_s_size_and_weight_and_is_the_same_every_time(grainy):
    picture = Image.open(io.BytesIO(grainy))
    assert (picture.format, picture.size) == ("JPEG", (4000, 3000))
    assert 2e6 < len(grainy) < 4e6
    assert preprocessing.camera_jpeg(preprocessing.GRAIN) == grainy


def test_a_reduced_camera_picture_is_what_the_whole_one_is(grainy):
    assert decode(grainy, size=224).size == (1000, 750)
    whole = to_pixels(decode(grainy), 224)
    off = preprocessing.difference(grainy, 224)
    assert off == pytest.approx(np.abs(pixel_values(grainy, 224) * 255 - whole.astype(float)).mean(), rel=1e-4)
    assert 0 < off < 0.5
    assert whole.astype(float).std() > 30  # there is something on it


def test_every_ratio_is_of_the_two_calls_it_names_and_the_bar_is_the_vit_s():
    seconds = {"reduced": 3.0, "whole": 12.0, "bit stream": 2.0, "ViT": 6.0, "mobile": 0.5}
    ran = []

    def timer(calls, count, seed):
        for call in calls.values():
            call(0)
        return {name: Times(np.full(count, seconds[name]), np.full(count, 2 * seconds[name])) for name in calls}

    towers = {name: (lambda name=name: ran.append(name)) for name in ("ViT", "mobile")}
    found = preprocessing.measure(SpeedConfig(), towers, 224, timer)
    assert ran == ["ViT", "mobile"] * 2
    values = {one.what: (one.value.median, one.bar) for one in found}
    for kind in ("smooth", "grainy"):
        assert values[f"{kind} 12-megapixel JPEG, reduced / ViT"] == (0.5, 0.25)
        assert values[f"{kind} 12-megapixel JPEG, reduced / mobile"] == (6, None)
        assert values[f"{kind} 12-megapixel JPEG, whole / ViT"] == (2, None)
        assert values[f"{kind} 12-megapixel JPEG, bit stream / ViT"] == (pytest.approx(1 / 3), None)
        assert values[f"{kind} 12-megapixel JPEG, reduced / whole"] == (0.25, None)
    assert [one.met for one in found if one.bar] == [False, False]
    assert {one.axis for one in found} == {"preprocessing"}
