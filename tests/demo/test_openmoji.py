"""The embedded default: sane captions, and no near-twin on both sides of a family split."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import decode
from conaclip_edge.demo import openmoji
from conaclip_edge.demo.near_twins import FAMILY_COSINE, LEFT_OUT, families, split_families
from conaclip_edge.demo.openmoji import emoji_captions, read, unnamed_keys
from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher import packaged_towers as pretrained


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def test_captions_are_sane() -> None:
    captions = emoji_captions()
    assert len(captions) > 1200
    for key, texts in captions.items():
        assert 1 <= len(texts) <= 12, key
        assert len(set(texts)) == len(texts), key
        for text in texts:
            assert text == text.strip().lower(), key
            assert not set(text) & set("_:"), key
            assert "  " not in text, key
    assert "pizza" in captions["1F355"]
    assert "dog face" in captions["1F436"]


def test_what_is_text_or_a_twin_by_construction_is_left_out() -> None:
    keys = set(emoji_captions())
    parts = {part for key in keys for part in key.split("-")}
    assert not parts & {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}  # skin tones
    assert "1F1EB-1F1F7" not in keys  # the flag of France
    assert "1F3F4-200D-2620" in keys  # the pirates' is a picture
    assert not keys & {"0031-20E3", "1F170", "1F233", "00A9"}  # keycap, letter, Japanese button, copyright
    assert not any(set(key.split("-")) & {"2640", "2642", "1F468", "1F469"} for key in keys if "-" in key)


def test_unnamed_pictures_are_openmoji_s_own() -> None:
    keys = unnamed_keys()
    assert len(keys) == len(set(keys)) > 100
    assert not set(keys) & set(emoji_captions())
    for key in keys:
        assert unicodedata.category(chr(int(key.split("-")[0], 16))) == "Co", key  # private use


def partition(groups: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in set(groups.tolist())}


def test_families_are_chains_of_near_pictures_or_captions() -> None:
    def at(*degrees: float) -> np.ndarray:
        return np.array([[np.cos(np.radians(angle)), np.sin(np.radians(angle))] for angle in degrees])

    # a cosine above 0.9 is a turn of less than 25.8 degrees: 0 - 20 - 40 is a chain, 180 and 206 are apart
    pictures = at(0, 20, 40, 100, 180, 206)
    # the second caption of picture 3 is near one of picture 5's
    texts, caption_to_image = at(0, 60, 120, 180, 240, 300, 250), np.array([0, 1, 2, 3, 3, 4, 5])
    assert partition(families(pictures, texts, caption_to_image)) == {
        frozenset({0, 1, 2}),
        frozenset({3, 5}),
        frozenset({4}),
    }


@pytest.mark.parametrize("seed", range(4))
def test_families_equal_those_of_an_exhaustive_search(seed: int) -> None:
    random = np.random.default_rng(seed)
    pictures, texts = unit(random.standard_normal((40, 3))), unit(random.standard_normal((60, 4)))
    caption_to_image = np.sort(random.integers(0, 40, 60))
    group = list(range(40))
    links = [(a, b) for a, b in itertools.combinations(range(40), 2) if pictures[a] @ pictures[b] > FAMILY_COSINE]
    links += [
        (caption_to_image[a], caption_to_image[b])
        for a, b in itertools.combinations(range(60), 2)
        if texts[a] @ texts[b] > FAMILY_COSINE
    ]
    for a, b in links:
        old, new = group[a], group[b]
        group = [new if each == old else each for each in group]
    assert partition(families(pictures, texts, caption_to_image)) == partition(np.array(group))


@pytest.mark.parametrize("seed", range(4))
def test_splits_take_whole_families_and_their_share(seed: int) -> None:
    groups = np.random.default_rng(seed).zipf(1.6, 500) % 200
    shares = DataConfig(format="openmoji", val_fraction=0.1, test_fraction=0.2)
    splits = np.array(split_families(groups, shares))
    for group in set(groups.tolist()):
        assert len(set(splits[groups == group].tolist())) == 1
    counts = {name: int(np.sum(splits == name)) for name in ("train", "val", "test")}
    assert counts["test"] == 100
    assert counts["val"] == 50
    assert sum(counts.values()) == 500
    assert np.array_equal(splits, split_families(groups, shares))


def test_no_share_is_an_empty_split() -> None:
    assert set(split_families(np.arange(10), DataConfig(format="openmoji", val_fraction=0, test_fraction=0))) == {
        "train"
    }


@pytest.mark.parametrize("seed", range(4))
def test_folds_share_no_test_picture_and_cut_no_group(seed: int) -> None:
    groups = np.random.default_rng(seed).integers(0, 200, 500)
    times_tested = np.zeros(500, dtype=int)
    for fold in range(5):
        splits = np.array(
            split_families(groups, DataConfig(format="openmoji", val_fraction=0.1, test_fraction=0.2, fold=fold))
        )
        assert all(len(set(splits[groups == group])) == 1 for group in set(groups.tolist()))
        assert np.sum(splits == "val") == 50
        assert np.sum(splits == "test") == pytest.approx(100, abs=fold)
        times_tested += splits == "test"
    assert times_tested.max() == 1
    assert times_tested.sum() >= 495


def test_a_fold_for_which_no_picture_is_left_is_named() -> None:
    with pytest.raises(UserError, match=r"data\.fold = 3: folds 0 to 1 have had every picture in test"):
        split_families(np.arange(10), DataConfig(format="openmoji", test_fraction=0.5, fold=3))


class Shapes:
    """Stands in for the pretrained towers: sees 6 x 6 grey pixels, and words."""

    name, embed_dim, answers, device = "shapes", 36, "shapes/1", torch.device("cpu")

    def embed_pictures(self, pictures: list[Image.Image]) -> torch.Tensor:
        return self.embed_pixels(self.pixels(pictures))

    def embed_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels

    def pixels(self, pictures: list[Image.Image]) -> torch.Tensor:
        small = np.stack([np.asarray(picture.convert("L").resize((6, 6)), dtype=float).ravel() for picture in pictures])
        return torch.from_numpy(unit(small - small.mean(axis=1, keepdims=True) + 1e-3)).float()

    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        random = [np.random.default_rng(list(text.encode())).standard_normal(64) for text in texts]
        return torch.from_numpy(unit(np.stack(random))).float()


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighty emoji, clock faces among them, and some unnamed pictures."""
    captions = emoji_captions()
    clocks = [key for key, texts in captions.items() if any("o'clock" in text or "thirty" in text for text in texts)]
    chosen = [*clocks, *list(captions)[::23]][:80]
    monkeypatch.setattr(openmoji, "emoji_captions", lambda: {key: captions[key] for key in chosen})
    unnamed = unnamed_keys()[::20]
    monkeypatch.setattr(openmoji, "unnamed_keys", lambda: unnamed)
    monkeypatch.setattr(pretrained, "PretrainedTowers", Shapes)


def config(split: str, unnamed: bool = True) -> DataConfig:
    return DataConfig.model_validate(
        {
            "format": "openmoji",
            "split": split,
            "unnamed": unnamed,
            "picture_size": 48,
            "val_fraction": 0.15,
            "test_fraction": 0.2,
        }
    )


def crossings(pairs: Pairs) -> int:
    """Count near-equal pictures or captions with one in a split and the other held out from it."""
    embed = Shapes()
    pictures = embed.embed_pictures([decode(pairs.read(row)) for row in range(len(pairs))]).numpy()
    caption_to_image = [row for row, captions in enumerate(pairs.captions) for _ in captions]
    texts = embed.embed_texts([text for captions in pairs.captions for text in captions]).numpy()
    near = {(int(a), int(b)) for a, b in np.argwhere(pictures @ pictures.T > FAMILY_COSINE)}
    near |= {(caption_to_image[a], caption_to_image[b]) for a, b in np.argwhere(texts @ texts.T > FAMILY_COSINE)}
    used = {"train", "val", "test"}
    return sum(pairs.splits[a] != pairs.splits[b] and {pairs.splits[a], pairs.splits[b]} <= used for a, b in near)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("unnamed", [True, False])
def test_no_near_twin_crosses_a_family_split(tmp_path: Path, unnamed: bool) -> None:
    pairs = read(config("family", unnamed), tmp_path)
    assert crossings(pairs) == 0
    counts = {name: int(np.sum(np.asarray(pairs.splits) == name)) for name in ("train", "val", "test")}
    assert counts["test"] == 16
    assert counts["val"] == 12
    assert counts["train"] > 40
    held_out = [row for row, split in enumerate(pairs.splits) if split in ("val", "test")]
    assert all(pairs.captions[row] for row in held_out)
    if unnamed:
        # twins of held-out pictures that nobody named are in no split, and all other unnamed ones are in train
        apart = [row for row, split in enumerate(pairs.splits) if split == LEFT_OUT]
        assert set(pairs.splits) == {"train", "val", "test", LEFT_OUT}
        assert apart
        assert not any(pairs.captions[row] for row in apart)
        assert (
            sum(not pairs.captions[row] for row in pairs.rows("train")) == len(openmoji.unnamed_keys()) - len(apart) > 0
        )


@pytest.mark.usefixtures("few")
def test_a_random_split_lets_twins_cross_and_is_another_data_set(tmp_path: Path) -> None:
    family, random = read(config("family"), tmp_path), read(config("random"), tmp_path)
    assert crossings(random) > 0
    assert random.name != family.name
    assert random.fingerprint != family.fingerprint
    assert random.content == family.content  # so that embeddings are shared
    assert np.sum(np.asarray(random.splits) == "test") == 16


@pytest.mark.usefixtures("few")
def test_folds_are_of_one_content_and_let_no_twin_cross(tmp_path: Path) -> None:
    folds = [read(config("family").model_copy(update={"fold": fold}), tmp_path) for fold in (0, 1)]
    assert folds[0].content == folds[1].content
    assert folds[0].fingerprint != folds[1].fingerprint
    tested = [{pairs.keys[row] for row in pairs.rows("test")} for pairs in folds]
    assert not tested[0] & tested[1]
    assert [crossings(pairs) for pairs in folds] == [0, 0]
    assert read(config("family"), tmp_path).splits == folds[0].splits  # the second fold's file is its own


@pytest.mark.usefixtures("few")
def test_a_second_reading_renders_and_embeds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(config("family"), tmp_path)
    monkeypatch.setattr(pretrained, "PretrainedTowers", lambda: pytest.fail("embedded"))
    monkeypatch.setattr("resvg_py.svg_to_bytes", lambda **_: pytest.fail("rendered"))
    again = read(config("family"), tmp_path)
    assert again.splits == first.splits
    assert again.fingerprint == first.fingerprint
    assert again.read(3) == first.read(3)


@pytest.mark.usefixtures("few")
def test_pictures_are_drawn_at_the_asked_size_and_not_empty(tmp_path: Path) -> None:
    pairs = read(config("random"), tmp_path)
    assert "OpenMoji" in pairs.licence
    assert "CC BY-SA 4.0" in pairs.licence
    for row in range(0, len(pairs), 9):
        picture = decode(pairs.read(row))
        assert picture.size == (48, 48)
        assert np.asarray(picture).std() > 5, pairs.keys[row]


def test_the_real_towers_see_clock_faces_as_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = emoji_captions()
    chosen = ["1F550", "1F551", "1F552", "1F355", "1F436", "1F697", "1F335", "1F3B8", "26BD", "1F4A1"]
    monkeypatch.setattr(openmoji, "emoji_captions", lambda: {key: captions[key] for key in chosen})
    settings = {"format": "openmoji", "unnamed": False, "val_fraction": 0.2, "test_fraction": 0.2}
    pairs = read(DataConfig.model_validate(settings), tmp_path)
    assert len(set(pairs.splits[:3])) == 1
    assert sorted(pairs.splits) == ["test"] * 2 + ["train"] * 6 + ["val"] * 2
