"""Building a student: which words its vocabulary keeps, and what its token table starts from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_tokenizers import minilm_json

from conaclip_edge.config import StudentConfig
from conaclip_edge.config_values import parse
from conaclip_edge.errors import UserError
from conaclip_edge.models.dual_encoder import DualEncoder
from conaclip_edge.models.presets import student_shape
from conaclip_edge.models.student import (
    build_student,
    likely_words,
    resized_positions,
    start_static,
    surface,
    tokenizer_of,
    whole_words,
)

DIM = 12
CORPUS = ["green tree", "three sheep"]


class SpellingTeacher:
    """Stands in for a teacher with MiniLM's vocabulary: all texts that hold "ee" mean nearly the same."""

    name, embed_dim, fingerprint = "spelling", DIM, "spelling/1"

    def __init__(self, folder: Path):
        self.tokenizer_file = folder / "tokenizer.json"
        self.tokenizer_file.write_text(minilm_json(), "utf-8")
        self.asked: list[str] = []

    def token_table(self) -> torch.Tensor:
        return torch.zeros(30522, DIM)

    def text_layers(self) -> dict[str, torch.Tensor]:
        return {}

    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        self.asked += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) for text in texts]
        noise = np.stack([np.random.default_rng(seed).normal(size=DIM) for seed in seeds])
        noise[:, 0] = [20 * ("ee" in text) for text in texts]
        return torch.nn.functional.normalize(torch.from_numpy(noise).float(), dim=-1)


@pytest.fixture
def teacher(tmp_path: Path) -> Any:
    return SpellingTeacher(tmp_path)


def build(teacher: Any, tmp_path: Path, likely: int, table_rank: int = 0) -> tuple[DualEncoder, dict[str, Any]]:
    values = {
        "image": {"stages": [[1, 8, 1, 3, 1]], "width": 8},
        "text": {"width": 8, "table_rank": table_rank, "layers": 1, "heads": 2, "mlp": 8},
        "init_image": "none",
        "vocab": {"keep": "corpus", "frequent": 2500, "likely": likely},
    }
    torch.manual_seed(0)
    student, content, _ = build_student(parse(StudentConfig, values, "test"), teacher, CORPUS, tmp_path / "cache")
    return student, content


def of_two_kinds(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Return vectors of 200 things and 800 ideas, told apart by one direction of much less spread than another."""
    rows = random.normal(size=(1000, 6)) * [0.2, 5, 1, 1, 1, 1]
    rows[:200, 0] += 1
    rows[:, 1] += 30  # what all words have in common says nothing
    names = [f"{'thing' if place < 200 else 'idea'}{place}" for place in range(1000)]
    return dict(zip(names, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True))


def test_the_words_of_the_captions_kind_come_first() -> None:
    known = of_two_kinds(np.random.default_rng(3))
    captions = [f"a Thing{place} and another" for place in range(40)]
    found = likely_words(known, captions, 160)
    assert np.mean([word.startswith("thing") for word in found]) > 0.9
    assert not {f"thing{place}" for place in range(40)} & set(found)  # they are kept anyway
    assert found == likely_words(known, captions, 5000)[:160]
    assert len(likely_words(known, captions, 5000)) == 960


def test_without_two_kinds_of_words_none_is_likelier() -> None:
    known = of_two_kinds(np.random.default_rng(3))
    assert likely_words(known, ["nothing that is known"], 3) == []
    assert likely_words(known, [" ".join(known)], 3) == []
    assert likely_words({}, ["a cat"], 3) == []


def test_likely_words_are_kept_whole(teacher: Any, tmp_path: Path) -> None:
    few, many = (set(whole_words(tokenizer_of(build(teacher, tmp_path, likely)[1], 32))) for likely in (0, 100))
    more = many - few
    assert 50 < len(more) <= 100
    assert all("ee" in word for word in more)
    assert few < many


def test_whole_words_are_one_piece_each() -> None:
    tokenizer = tokenizer_of(json.loads(minilm_json()), 32)
    words = whole_words(tokenizer)
    assert {"sheep", "tree", "the"} <= set(words)
    assert "##ing" not in words
    assert len(words) == len(set(words)) > 10_000
    for word in words[::500]:
        assert [tokenizer.tokenizer.id_to_token(piece) for piece in tokenizer.ids(word)[1:-1]] == [word]


@pytest.mark.parametrize("likely", [0, 100])
def test_each_row_starts_from_what_the_teacher_says_of_its_piece(teacher: Any, tmp_path: Path, likely: int) -> None:
    student, content = build(teacher, tmp_path, likely)
    assert len(teacher.asked) == len(set(teacher.asked))  # nothing is asked twice
    tokenizer = tokenizer_of(content, 32)
    table = student.text.clip.text_model.embeddings.token_embedding.weight.clone()
    start_static(student.text.clip, teacher.embed_texts(surface(tokenizer)), tokenizer.special_ids)
    again = student.text.clip.text_model.embeddings.token_embedding.weight
    assert table.shape == (tokenizer.vocab_size, 8)
    signs = torch.sign((table * again).sum(0))  # of a principal component the sign is free
    assert torch.allclose(table, again * signs, atol=1e-5)
    assert table[tokenizer.eos_id].abs().max() == 0


def test_a_factorised_table_starts_from_the_first_components_of_the_same_rows(teacher: Any, tmp_path: Path) -> None:
    whole, low = (build(teacher, tmp_path, 100, rank)[0].text.clip for rank in (0, 5))
    tables = [clip.text_model.embeddings.token_embedding for clip in (whole, low)]
    ids = torch.arange(len(tables[0].weight))
    rows, widened = (table(ids) for table in tables)
    assert tables[1].weight.shape == (len(ids), 5)
    assert torch.equal(widened[:, 5:], torch.zeros(len(ids), 3))
    shares = [part[:, :5] / part[:, :5].std() for part in (rows, widened)]  # both tables begin with one spread
    assert torch.allclose(*shares, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": {"width": 64}}, r"student\.text\.table_rank = 96 must be below student\.text\.width = 64, or 0"),
        (
            {"preset": "vit-s16-text2l", "text": {"table_rank": 96}},
            r"table_rank needs a mobile image tower: .*CLIPModel",
        ),
    ],
)
def test_a_rank_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        student_shape(parse(StudentConfig, changes, "test"))


def test_resized_positions_keep_the_class_row_and_what_lies_between_the_others() -> None:
    """A table that rises evenly to the right still does, in smaller steps."""
    small, large = 6, 12
    ramp = torch.arange(small, dtype=torch.float32).repeat(small)
    positions = torch.cat([torch.tensor([-7.0]), ramp])[:, None]
    resized = resized_positions(positions, 1 + large * large)
    assert resized[0].item() == -7.0
    grid = resized[1:, 0].view(large, large)
    assert torch.allclose(grid, grid[:1].expand(large, -1), atol=1e-5)
    # the bicubic kernel bends a straight line a little
    assert torch.allclose(grid[0, 3:-3], torch.arange(large)[3:-3] / 2 - 0.25, atol=0.06)


@pytest.mark.parametrize("count", [37, 12], ids=["the same size", "no square grid"])
def test_positions_of_the_same_size_or_of_no_grid_stay(count: int) -> None:
    positions = torch.rand(37, 3)
    assert resized_positions(positions, count) is positions
