"""The figures of a gate are right, and each way of being wrong is recognised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conaclip_edge.bundle.embeddings import cosines, embed_ids, embed_pixels, host, norm_error, padded
from conaclip_edge.bundle.gate_words import by_chance
from conaclip_edge.bundle.golden import MIN_COSINE, Golden
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.evaluation.recall import Ranks, ranks
from conaclip_edge.export.gate.gate import (
    FileEmbeddings,
    compare_ranks,
    compare_with_student,
    gate_failures,
    pair_failures,
    worst_layers,
)
from conaclip_edge.export.gate.held_out import HeldOut

INT8 = ExportConfig()
P, C, D = 40, 60, 32
CAPTION_TO_IMAGE = np.concatenate([np.arange(P), np.arange(C - P)])


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def noise(seed: int, rows: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, D))


PICTURES = unit(noise(0, P))
TEXTS = unit(PICTURES[CAPTION_TO_IMAGE] + 0.8 * unit(noise(1, C)))
GOLDEN_PICTURES, GOLDEN_TEXTS = unit(noise(2, 8)), unit(noise(3, 24))
HELD = HeldOut(
    "set",
    "f",
    np.zeros((P, 3, 4, 4), np.uint8),
    (),
    CAPTION_TO_IMAGE,
    PICTURES,
    TEXTS,
    ranks(PICTURES, TEXTS, CAPTION_TO_IMAGE),
    (),
)
GOLDEN_PIXELS = np.zeros((8, 3, 4, 4), np.uint8)
GOLDEN = Golden((), (), GOLDEN_TEXTS, (), (), GOLDEN_PIXELS, GOLDEN_PICTURES, MIN_COSINE, MIN_COSINE)


def gates(image=PICTURES, text=TEXTS, golden_image=GOLDEN_PICTURES, golden_text=GOLDEN_TEXTS, held=HELD):
    outputs = {
        "image": FileEmbeddings("native", image, golden_image),
        "text": FileEmbeddings("reference", text, golden_text),
    }
    return compare_with_student(outputs, held, GOLDEN, on_grids=held.on_grids is not None)


def missed(tower: str, config: ExportConfig = INT8, **changes) -> list[str]:
    return gate_failures(gates(**changes)[tower], tower, config, GOLDEN)


def test_cosines_agree_with_the_definition_whatever_the_lengths():
    a, b = noise(5, 7) * 9, unit(noise(6, 7))
    expected = [float(x @ y) / (sum(x**2) ** 0.5 * sum(y**2) ** 0.5) for x, y in zip(a, b.astype(float), strict=True)]
    np.testing.assert_allclose(cosines(a, b), expected, rtol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_is_no_number_counts_as_wrong_and_is_counted(value):
    text = TEXTS.copy()
    text[[3, 9], 5] = value
    assert cosines(text, TEXTS)[3] == cosines(text, TEXTS)[9] == 0
    gate = gates(text=text)["text"]
    assert gate.not_finite == 2
    assert np.isfinite(list(gate.alone.relative_recall.values())).all()
    assert missed("text", text=text)[0] == "2 embeddings are NaN or infinite"


def test_a_file_like_the_student_misses_nothing():
    assert missed("image") == missed("text") == []
    gate = gates()["text"]
    assert gate.executed == "reference"
    assert gate.cosine.p1 == pytest.approx(1)
    assert pair_failures(gate, INT8) == []


def test_a_length_is_checked_though_cosine_and_order_do_not_change():
    gate = gates(text=1.01 * TEXTS)["text"]
    assert gate.cosine.mean == pytest.approx(1)
    assert gate.norm_error == pytest.approx(0.01, abs=1e-4)
    assert missed("text", text=1.01 * TEXTS) == ["embeddings are not normalised (a length is off by 0.01)"]
    assert missed("text", golden_text=2 * GOLDEN_TEXTS) == ["embeddings are not normalised (a length is off by 1)"]
    assert norm_error(np.full((2, 3), np.nan)) == 0


def test_one_bad_golden_vector_is_enough():
    golden = GOLDEN_TEXTS.copy()
    golden[20] = turned(golden[20:21], 0.975)[0]
    (reason,) = missed("text", golden_text=golden)
    assert reason == "least golden cosine 0.97500 is below 0.98"


def test_a_lower_bar_of_pictures_leaves_that_of_texts():
    lower = replace(GOLDEN, picture_min_cosine=dict.fromkeys(MIN_COSINE, 0.9))
    golden_image, golden_text = turned(GOLDEN_PICTURES, 0.95), turned(GOLDEN_TEXTS, 0.95)
    found = gates(golden_image=golden_image, golden_text=golden_text)
    assert gate_failures(found["image"], "image", INT8, lower) == []
    assert gate_failures(found["text"], "text", INT8, lower) == ["least golden cosine 0.95000 is below 0.98"]


def turned(rows: np.ndarray, cosine: float, seed: int = 7) -> np.ndarray:
    """Unit vectors with exactly that cosine to given ones."""
    other = noise(seed, len(rows))
    other = unit(other - (other * rows).sum(axis=1, keepdims=True) * rows)
    return (cosine * rows + np.sqrt(1 - cosine**2) * other).astype(np.float32)


BARS = {"int8": (0.9992, 0.9988), "fp16": (0.99995, 0.9998), "fp32": (0.999995, 0.99995)}


@pytest.mark.parametrize("precision", BARS)
def test_each_precision_has_its_own_bar_of_cosine(precision):
    config = ExportConfig(precision=precision, min_relative_recall=0)
    above, below = BARS[precision]
    assert missed("image", config, image=turned(PICTURES, above)) == []
    assert missed("image", config, image=turned(PICTURES, below))[0].startswith(f"mean cosine {below:.5f} is below")


def test_a_float_file_does_not_profit_from_a_lower_bar():
    config = ExportConfig(precision="fp16", min_cosine=0.5, min_relative_recall=0)
    assert missed("image", config, image=turned(PICTURES, 0.9))
    assert not missed("image", ExportConfig(min_cosine=0.5, min_relative_recall=0), image=turned(PICTURES, 0.9))


def test_each_tower_is_measured_with_the_students_other_tower():
    gate = gates(text=unit(noise(11, C)))
    assert gate["image"].alone.relative_recall == {"t2i": 1, "i2t": 1}
    assert gate["image"].cosine.mean == pytest.approx(1)
    assert max(gate["text"].alone.relative_recall.values()) < 0.5
    assert gate["image"].pair == gate["text"].pair == gate["text"].alone


def test_relative_recall_is_the_share_of_the_mean_recall_in_each_direction():
    # both texts of picture 0 come to lie on picture 1: of 4 texts 2 rank first, and all within 5
    pictures, caption_to_image = np.eye(3, dtype=np.float32), np.asarray([0, 0, 1, 2])
    before = ranks(pictures, pictures[caption_to_image], caption_to_image)
    after = ranks(pictures, pictures[[1, 1, 1, 2]], caption_to_image)
    assert after.recall()["t2i"] == {"1": 50.0, "5": 100.0, "10": 100.0}
    found = compare_ranks(after, before)
    assert found.relative_recall["t2i"] == pytest.approx(250 / 300)
    assert found.relative_recall["i2t"] == pytest.approx(sum(after.recall()["i2t"].values()) / 300)
    assert (found.worse["t2i"], found.better["t2i"]) == (2, 0)
    back = compare_ranks(before, after)
    assert back.relative_recall["t2i"] == pytest.approx(300 / 250)
    assert (back.worse["t2i"], back.better["t2i"]) == (0, 2)


def test_a_student_that_finds_nothing_has_nothing_to_lose():
    nothing = Ranks(np.full(C, 99), np.full(P, 99), CAPTION_TO_IMAGE)
    assert compare_ranks(nothing, nothing).relative_recall == {"t2i": 1.0, "i2t": 1.0}


def test_chance_is_that_of_a_fair_coin():
    assert by_chance(0, 0) == by_chance(0, 5) == 1
    assert by_chance(2, 0) == 0.25
    assert by_chance(4, 1) == pytest.approx((5 + 1) / 32)
    tosses = np.random.default_rng(0).integers(0, 2, (200_000, 30)).sum(axis=1)
    assert by_chance(19, 11) == pytest.approx(np.mean(tosses >= 19), abs=2e-3)
    assert by_chance(600, 400) < 1e-9


def lossy(relative_recall: float, worse: int, better: int):
    gate = gates()["text"]
    changes = {"relative_recall": {"t2i": relative_recall, "i2t": 1.0}, "worse": {"t2i": worse, "i2t": 0}}
    found = gate.alone.model_copy(update=changes | {"better": {"t2i": better, "i2t": 0}})
    return gate_failures(gate.model_copy(update={"alone": found}), "text", INT8, GOLDEN)


def test_a_loss_that_chance_does_not_explain_fails():
    assert lossy(0.95, 9, 1) == ["t2i recall is 95.0 % of the student's, below 99 % (9 queries worse, 1 better)"]
    assert lossy(0.985, 60, 30)
    assert lossy(0.95, 3, 1) == [], "a few flips of few pairs decided"
    assert lossy(0.991, 60, 30) == [], "a loss within the bar failed"


def test_lost_recall_fails_though_the_cosine_passes():
    """A shift of all texts to one side leaves cosines high and turns the order of pictures."""
    config = ExportConfig(min_cosine=0.5)
    found = missed("text", config, text=turned(TEXTS, 0.6))
    assert any("t2i recall is" in reason and "below 99 %" in reason for reason in found)


def test_both_files_are_also_measured_together():
    image, text = turned(PICTURES, 0.7, 1), turned(TEXTS, 0.7, 2)
    gate = gates(image=image, text=text)["image"]
    assert gate.pair.recall == ranks(image, text, CAPTION_TO_IMAGE).recall()
    assert gate.pair.relative_recall["t2i"] < gate.alone.relative_recall["t2i"]
    between = ExportConfig(
        min_relative_recall=(gate.pair.relative_recall["t2i"] + gate.alone.relative_recall["t2i"]) / 2
    )
    assert not any("recall" in reason for reason in gate_failures(gate, "image", between, GOLDEN))
    assert pair_failures(gate, between)[0].startswith("t2i recall is")


ERRORS = {
    "image.stem.conv": 0.5,
    "text.blocks.0.fc1": 0.004,
    "text.blocks.0.q": 0.002,
    "text.blocks.11.fc1": 0.003,
    "text.table": 0.001,
}


def test_worst_layers_sums_the_layers_of_a_block_and_sees_one_tower_alone():
    expected = "most quantisation error in text.blocks.0 (60 %), text.blocks.11 (30 %), text.table (10 %)"
    assert worst_layers(ERRORS, "text", 0.01) == expected


def test_worst_layers_does_not_accuse_rounding_of_what_it_cannot_do():
    assert "look at the graph itself" in worst_layers(ERRORS, "text", 0.5)
    assert "look at the graph itself" in worst_layers({}, "text", 0.5)


class Recorder:
    """A tower that keeps what it is called with."""

    executed = "native"

    def __init__(self, lengths=None):
        self.lengths = lengths
        self.inputs = []

    def __call__(self, values):
        self.inputs.append(values)
        return np.full((1, 2), len(self.inputs), np.float32)


def test_pictures_go_in_one_by_one_as_values_from_0_to_1():
    tower = Recorder()
    pixels = np.asarray([0, 51, 255, 102], np.uint8).reshape(2, 1, 1, 2).repeat(3, axis=1)
    assert embed_pixels(tower, pixels, "x")[:, 0].tolist() == [1, 2]
    assert [value.shape for value in tower.inputs] == [(1, 3, 1, 2)] * 2
    assert tower.inputs[1].dtype == np.float32
    assert tower.inputs[1][0, 0, 0].tolist() == [1.0, np.float32(0.4)]


def test_texts_go_in_unpadded_or_at_the_next_length():
    rows = (np.asarray([5, 9], np.int32), np.asarray([5, 6, 7, 9], np.int32))
    free, fixed = Recorder(), Recorder((3, 6))
    embed_ids(free, rows, 1, "x")
    assert [value.tolist() for value in free.inputs] == [[[5, 9]], [[5, 6, 7, 9]]]
    embed_ids(fixed, rows, 1, "x")
    assert [value.tolist() for value in fixed.inputs] == [[[5, 9, 1]], [[5, 6, 7, 9, 1, 1]]]
    assert padded(rows[0], (2, 4), 1).tolist() == [5, 9]
    assert fixed.inputs[0].dtype == np.int32


def test_the_host_is_named_with_its_machine():
    import platform

    assert host().split()[:2] == [platform.system(), platform.machine()]


def test_a_file_on_grids_is_judged_by_what_its_tower_gave_in_training_and_by_recall():
    trained = turned(PICTURES, 0.97)
    on_grids = replace(HELD, on_grids=trained)
    assert missed("image", image=trained, held=on_grids) == []
    gate = gates(image=trained, held=on_grids)["image"]
    assert (gate.cosine.mean, gate.on_grids.mean) == (pytest.approx(0.97), pytest.approx(1))
    assert missed("image", image=trained) == ["mean cosine 0.97000 is below 0.999"]
    (reason,) = missed("image", image=turned(trained, 0.98, seed=8), held=on_grids)
    assert reason == "mean cosine to the tower as trained 0.98000 is below 0.99"


@pytest.mark.parametrize(("target", "bar"), [("onnx", 0.99), ("executorch", 0.99), ("coreai", 0.99), ("coreml", 0.98)])
def test_a_file_that_adds_in_float16_may_differ_more_from_its_tower_in_training(target, bar):
    config = ExportConfig(target=target, precision="int8")
    on_grids = replace(HELD, on_grids=PICTURES)
    assert missed("image", config, image=turned(PICTURES, bar + 0.002), held=on_grids) == []
    found = missed("image", config, image=turned(PICTURES, bar - 0.002), held=on_grids)
    assert found == [f"mean cosine to the tower as trained {bar - 0.002:.5f} is below {bar}"]


def test_the_other_tower_of_a_student_on_grids_keeps_its_bar():
    on_grids = replace(HELD, on_grids=PICTURES)
    assert missed("text", text=turned(TEXTS, 0.99), held=on_grids) == ["mean cosine 0.99000 is below 0.999"]
