"""Synthetic rows behind those of the data set: right for both models, unpaired, and of the train split alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.data.preprocess import decode, to_pixels
from conaclip_edge.distill import trainer
from conaclip_edge.distill import training_data as inputs
from conaclip_edge.distill.build_student import tokenizer_of
from conaclip_edge.distill.examples import chained, examples_of
from conaclip_edge.distill.trainer import distill
from conaclip_edge.distill.training_data import training_data
from conaclip_edge.models.student.checkpoint import load_student

SYNTHETIC = {"pictures": 9, "texts": 11}


def settle(config: DistillConfig, **synthetic: int) -> DistillConfig:
    return config.model_copy(update={"synthetic": config.synthetic.model_copy(update=synthetic)})


def numbers(offset: int) -> Any:
    return lambda rows, views: torch.from_numpy(np.stack([rows + offset, views], axis=1))


@pytest.mark.parametrize("rows", [[0, 7, 3, 5, 1], [2, 4], [9, 5]])
def test_rows_behind_the_last_one_come_from_the_second_source(rows: list[int]) -> None:
    found = chained(numbers(100), 5, numbers(200))(np.array(rows), np.arange(len(rows)))
    wanted = [[row + 100, place] if row < 5 else [row - 5 + 200, 0] for place, row in enumerate(rows)]
    assert found.tolist() == wanted


def test_synthetic_rows_are_what_both_models_would_get(settings: Any, tmp_path: Path) -> None:
    data = training_data(settle(settings(), **SYNTHETIC))
    assert data.synthetic_pictures is not None
    assert data.other_texts is not None
    tokenizer = tokenizer_of(data.tokenizer_json, data.student.config.text.context)
    given = examples_of(data, tokenizer, 1, tmp_path)
    count, captions = len(data.pairs), sum(map(len, data.pairs.captions))
    assert given.synthetic_pictures.tolist() == list(range(count, count + 9))
    assert given.other_texts.tolist() == list(range(captions, captions + 11))
    made = inputs.synthetic_pictures(data.pairs, data.pairs.rows("train"), 9)
    pictures = [decode(made.read(place)) for place in range(9)]
    views = np.zeros(9, np.int64)
    said = data.teacher.embed_pictures(pictures)
    assert torch.allclose(given.teacher_pictures(given.synthetic_pictures, views), said, atol=1e-6)
    pixels = np.stack([to_pixels(picture, data.student.config.image.size) for picture in pictures])
    assert torch.equal(given.pictures(given.synthetic_pictures, views), torch.from_numpy(pixels))
    texts = data.other_texts.texts
    assert torch.allclose(given.teacher_texts(given.other_texts), data.teacher.embed_texts(texts), atol=1e-5)
    assert given.ids[captions:] == [tokenizer.ids(text) for text in texts]
    assert len(given.ids) == len(given.text_numbers) == captions + 11


def test_nothing_held_out_is_synthetic_from(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    for name in ("synthetic_pictures", "synthetic_texts"):
        real = getattr(inputs, name)
        monkeypatch.setattr(
            inputs, name, lambda *given, name=name, real=real: asked.update({name: given}) or real(*given)
        )
    data = training_data(settle(settings(), **SYNTHETIC))
    splits = np.asarray(data.pairs.splits)
    assert set(splits[asked["synthetic_pictures"][1]]) == {"train"}
    train = {text for row in data.pairs.rows("train") for text in data.pairs.captions[row]}
    assert set(asked["synthetic_texts"][0]) == train


def test_synthetic_rows_enter_as_unpaired_ones(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, batches = trainer.graph.compute, []
    monkeypatch.setattr(
        trainer.graph,
        "compute",
        lambda terms, batch, scale: batches.append(batch) or compute(terms, batch, scale),
    )
    distill(settle(settings(steps=6, unpaired=0.5), **SYNTHETIC), Path("out"))
    count = 48
    for batch in batches:
        assert torch.all(batch.picture_ids[: batch.pairs] < count)
        assert torch.all(batch.caption_to_image[batch.pairs :] == -1)
        assert len(batch.si) == len(batch.st) == 12
        assert batch.pairs == 6
    assert {int(row) for batch in batches for row in batch.picture_ids[batch.pairs :]} == set(range(count, count + 9))


def test_they_change_what_the_teacher_s_terms_teach_and_nothing_else(settings: Any) -> None:
    def weights(preset: str, **synthetic: int) -> torch.Tensor:
        distill(settle(settings(steps=3, graph={"preset": preset}), **synthetic), Path("out"))
        return load_student(Path("out")).model.image.vit.vision_model.post_layernorm.weight

    assert not torch.equal(weights("motis"), weights("motis", pictures=9))
    assert not torch.equal(weights("motis"), weights("motis", texts=11))
    assert torch.equal(weights("infonce"), weights("infonce", **SYNTHETIC))


def test_the_same_pictures_stay_captioned_whatever_the_seed(settings: Any) -> None:
    def divided(seed: int) -> tuple[list[int], list[int]]:
        data = training_data(settings(seed=seed, data={"labelled": 0.25}))
        return data.captioned.tolist(), data.unpaired.tolist()

    captioned, unpaired = divided(0)
    assert (captioned, unpaired) == divided(1)
    assert len(captioned) == round(29 * 0.25)
    assert not set(captioned) & set(unpaired)
