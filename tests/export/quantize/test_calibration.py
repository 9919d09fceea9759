"""Calibration draws train pairs alone; smoothing changes no float result; sensitivity finds the layer at fault."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import Preprocess
from conaclip_edge.errors import UserError
from conaclip_edge.export.quantize.calibration import calibrate, make_calibration
from conaclip_edge.export.quantize.sensitivity import most_sensitive, sensitivity
from conaclip_edge.export.quantize.smoothquant import cosine_transform, smooth
from conaclip_edge.export.towers.layers import Block
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.models.quantization.int8_weights import round_weight
from tests.helpers.small_students import CONTEXT, EOS, calibration, pictures, student, text


class Words:
    """A tokenizer of one id a word."""

    def ids(self, caption: str) -> list[int]:
        return [*(int(word) for word in caption.split()), EOS]


def png(shade: int, size: int = 40) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), (shade, 255 - shade, 7)).save(file, "PNG")
    return file.getvalue()


def pairs(splits: list[str], broken: tuple[int, ...] = ()) -> Pairs:
    """Pictures of one shade each, whose reading fails the test outside train."""

    def read(row: int) -> bytes:
        assert splits[row] == "train", f"calibration read a picture of {splits[row]}"
        return b"no picture" if row in broken else png(row)

    captions = [(str(row % 40), f"{row % 40} 1") if row % 2 else (str(row % 40),) for row in range(len(splits))]
    return Pairs("shades", [str(row) for row in range(len(splits))], captions, splits, read, "stamp")


def draw(source: Pairs, count: int = 6):
    return calibrate(source, Words(), Preprocess(16), count, 10_000)


SPLITS = ["train", "val", "test"] * 10


def test_only_train_pictures_are_read():
    made = draw(pairs(SPLITS))
    assert made.pixels.shape == (6, 3, 16, 16)
    for shade, row in zip(made.pixels[:, 0, 0, 0], made.ids, strict=True):
        assert SPLITS[int(shade)] == "train"
        assert row[0] == int(shade) % 40, "a picture lost its caption"


def test_the_same_pairs_give_the_same_set_and_hash():
    assert draw(pairs(SPLITS)).sha256 == draw(pairs(SPLITS)).sha256
    other = ["val", "train", "test"] * 10
    assert draw(pairs(SPLITS)).sha256 != draw(pairs(other)).sha256


@pytest.mark.parametrize("change", ["pixel", "id", "order", "length"])
def test_the_hash_sees_every_change(change):
    base = calibration(4)
    pixels, ids = base.pixels.copy(), [row.copy() for row in base.ids]
    if change == "pixel":
        pixels[3, 2, 31, 31] ^= 1
    elif change == "id":
        ids[2][0] += 1
    elif change == "order":
        ids[0], ids[1] = ids[1], ids[0]
    else:
        joined = np.concatenate([ids[0], ids[1]])
        ids[0], ids[1] = joined[:1], joined[1:]
    assert make_calibration(pixels, ids).sha256 != base.sha256


def test_broken_pictures_are_passed_over():
    made = draw(pairs(["train"] * 8, broken=(1, 5)))
    assert not {1, 5} & set(made.pixels[:, 0, 0, 0].tolist())


def test_of_few_train_pairs_all_are_taken_with_augmented_views(capsys):
    made = draw(pairs(SPLITS), 25)
    assert len(made) == len(made.pixels) == len(made.ids) == 25
    assert {SPLITS[row] for row in made.rows} == {"train"}
    assert len(made.rows) == 10
    assert {row for row in range(30) if SPLITS[row] == "train"} == set(made.rows)
    assert len(np.unique(made.pixels.reshape(25, -1), axis=0)) > 20, "the views are copies"
    assert "calibration: 25 views of all 10 train pictures; 25 were asked for." in capsys.readouterr().err
    assert draw(pairs(SPLITS), 25).sha256 == made.sha256


def test_no_picture_has_more_than_eight_views():
    assert len(draw(pairs(["train", "val", "test", "train"]), 320)) == 16


def test_pictures_without_captions_calibrate_too_and_texts_are_those_that_exist():
    source = pairs(["train"] * 6)
    some = replace(source, captions=[source.captions[1], *[()] * 5])
    made = draw(some, 8)
    assert len(made.rows) == 6
    assert made.texts_from == "captions"
    assert {tuple(row) for row in made.ids} == {(1, EOS), (1, 1, EOS)}


def test_without_any_picture_calibration_is_refused():
    with pytest.raises(UserError, match="no train picture of 'shades' can be used to calibrate int8"):
        draw(pairs(["train"] * 3, broken=(0, 1, 2)), 11)


def test_texts_of_one_length_come_together_unpadded():
    made = calibration(20)
    batches = list(made.texts())
    assert sorted(len(row) for row in made.ids) == sorted(b.shape[1] for b in batches for _ in range(len(b)))
    assert all((batch[:, -1] == EOS).all() and (batch[:, :-1] != EOS).all() for batch in batches)
    assert all(batch.dtype == torch.int32 for batch in batches)


def with_outliers(towers):
    """Blow up some channels behind each layer norm, as trained transformers do."""
    for tower in (towers.image, towers.text):
        for block in tower.blocks:
            for norm in (block.norm1, block.norm2):
                norm.weight[3] *= 40
                norm.bias[7] += 30
    return towers


def test_smoothing_changes_no_float_result():
    towers = with_outliers(build_towers(student(), "s"))
    smoothed = smooth(towers, calibration(), 0.5)
    x, ids = pictures(3), torch.tensor([text(CONTEXT), text(CONTEXT, seed=2)], dtype=torch.int32)
    torch.testing.assert_close(smoothed.image(x), towers.image(x), atol=1e-5, rtol=0)
    torch.testing.assert_close(smoothed.text(ids), towers.text(ids), atol=1e-5, rtol=0)


def test_smoothing_halves_the_error_of_outliers_at_least():
    towers = with_outliers(build_towers(student(), "s"))
    smoothed = smooth(towers, calibration(), 0.5)
    before, after = sensitivity(towers, calibration()), sensitivity(smoothed, calibration())
    behind_norms = [name for name in before if name.split(".")[-1] in ("q", "k", "v", "fc1")]
    assert sum(after[name] for name in behind_norms) < 0.5 * sum(before[name] for name in behind_norms)


def test_values_that_pass_through_unchanged_survive_int8():
    """A block that begins as the identity has one large weight a row, beside which int8 keeps little of the others."""
    towers = build_towers(student(), "s")
    for block in towers.text.blocks:
        for layer in (block.v, block.o):
            layer.weight.mul_(0.1).add_(2 * torch.eye(len(layer.weight)))
    before, after = (sensitivity(each, calibration()) for each in (towers, smooth(towers, calibration(), 0.5)))
    names = [f"text.blocks.{number}.{layer}" for number in (0, 1) for layer in ("v", "o")]
    assert sum(after[name] for name in names) < 0.5 * sum(before[name] for name in names)


def test_the_rotation_of_values_is_orthogonal_and_has_no_large_entry():
    for size in (8, 12, 64):
        rotation = cosine_transform(size)
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(size), atol=1e-6, rtol=0)
        assert rotation.abs().max() <= (2 / size) ** 0.5 + 1e-6


def test_smoothing_leaves_its_input_alone():
    towers = build_towers(student(), "s")
    before = {name: value.clone() for name, value in towers.text.state_dict().items()}
    smoothed = smooth(towers, calibration(), 0.5)
    assert all(torch.equal(value, before[name]) for name, value in towers.text.state_dict().items())
    assert not torch.equal(smoothed.text.blocks[0].k.weight, towers.text.blocks[0].k.weight)


def test_a_mobile_tower_is_not_smoothed():
    towers = build_towers(student("mobile"), "m")
    smoothed = smooth(towers, calibration(), 0.5)
    assert all(torch.equal(a, b) for a, b in zip(smoothed.image.parameters(), towers.image.parameters(), strict=True))


@pytest.mark.parametrize("step", [lambda t, c: smooth(t, c, 0.5), sensitivity])
def test_an_empty_calibration_is_refused(step):
    nothing = make_calibration(np.zeros((0, 3, 32, 32), np.uint8), [])
    with pytest.raises(UserError, match="int8 needs calibration pictures and captions, got none"):
        step(build_towers(student(), "s"), nothing)


def test_sensitivity_names_the_layer_with_the_planted_outlier():
    towers = build_towers(student(), "s")
    block = towers.text.blocks[1]
    assert isinstance(block, Block)
    # one weight a row a thousand times the others: int8 rounds the others to nothing; its input channel is silenced
    block.norm2.weight[5] = 0
    block.norm2.bias[5] = 0
    block.fc1.weight[:, 5] = 100
    errors = sensitivity(towers, calibration())
    assert next(iter(errors)) == "text.blocks.1.fc1"
    assert most_sensitive(towers, calibration(), 1) == {"text.blocks.1.fc1"}
    assert most_sensitive(towers, calibration(), 0) == frozenset()


def test_sensitivity_covers_each_layer_once_and_restores_it():
    towers = build_towers(student("mobile"), "m")
    before = [value.clone() for value in towers.image.parameters()]
    errors = sensitivity(towers, calibration())
    # stem, blocks of 2, 3, 3 and 3 convolutions, head, projection; table, 2 blocks of 6, projection
    assert len(errors) == 14 + 14
    assert all(torch.equal(a, b) for a, b in zip(before, towers.image.parameters(), strict=True))
    assert list(errors.values()) == sorted(errors.values(), reverse=True)


def test_rounding_a_weight_keeps_its_largest_value_and_its_zero_rows():
    weight = torch.tensor([[1.27, -0.014], [0.0, 0.0]])
    torch.testing.assert_close(round_weight(weight), torch.tensor([[1.27, -0.01], [0.0, 0.0]]))
