"""Building a student: which words its vocabulary keeps, and what its token table starts from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conaclip_edge.config.model import StudentConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.distill.build_student import (
    build_student,
    nearest_words,
    start_static,
    tokenizer_of,
)
from conaclip_edge.models.image_towers.positions import resized_positions
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.models.vocabulary_words import surface, whole_words
from tests.helpers.models.clip_folders import change_json
from tests.helpers.models.tiny_teachers import siglip
from tests.helpers.models.tiny_tokenizers import minilm_json
from tests.helpers.tiny import STUDENT

DIM = 12
CORPUS = ["green tree", "three sheep"]


class SpellingTeacher:
    """Stands in for a teacher with MiniLM's vocabulary: all texts that hold "ee" mean nearly the same."""

    name, embed_dim, fingerprint, answers = "spelling", DIM, "spelling/1", "spelling/1"
    device = torch.device("cpu")

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


def build(teacher: Any, tmp_path: Path, near: int) -> tuple[DualEncoder, dict[str, Any]]:
    values = {
        "image": {"stages": [[1, 8, 1, 3, 1]], "width": 8},
        "text": {"width": 8, "layers": 1, "heads": 2, "mlp": 8},
        "init_image": "none",
        "vocab": {"keep": "corpus", "frequent": 2500, "near": near},
    }
    torch.manual_seed(0)
    said = teacher.embed_texts(CORPUS).numpy()
    teacher.asked.clear()
    student, content, _ = build_student(parse(StudentConfig, values, "test"), teacher, CORPUS, tmp_path / "cache", said)
    return student, content


def test_the_words_nearest_to_any_three_texts_come_first() -> None:
    random = np.random.default_rng(3)
    known = {f"word{place}": row / np.linalg.norm(row) for place, row in enumerate(random.normal(size=(2500, 5)))}
    said = random.normal(size=(40, 5))
    score = {word: sum(sorted(float(row @ text) for text in said)[-3:]) for word, row in list(known.items())}
    wanted = sorted(score, key=lambda word: -score[word])
    assert nearest_words(known, said, 7) == wanted[:7]
    assert nearest_words(known, said, 5000) == wanted
    best = max(known, key=lambda word: float(known[word] @ said[0]))
    assert nearest_words(known, said[:1], 1) == [best]  # fewer texts than three
    assert nearest_words({}, said, 3) == []


def test_near_words_are_kept_whole(teacher: Any, tmp_path: Path) -> None:
    few, many = (set(whole_words(tokenizer_of(build(teacher, tmp_path, near)[1], 32))) for near in (0, 100))
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


@pytest.mark.parametrize("near", [0, 100])
def test_each_row_starts_from_what_the_teacher_says_of_its_piece(teacher: Any, tmp_path: Path, near: int) -> None:
    student, content = build(teacher, tmp_path, near)
    assert len(teacher.asked) == len(set(teacher.asked))  # nothing is asked twice
    tokenizer = tokenizer_of(content, 32)
    table = student.text.clip.text_model.embeddings.token_embedding.weight.clone()
    start_static(student.text.clip, teacher.embed_texts(surface(tokenizer)), tokenizer.special_ids)
    again = student.text.clip.text_model.embeddings.token_embedding.weight
    assert table.shape == (tokenizer.vocab_size, 8)
    signs = torch.sign((table * again).sum(0))  # of a principal component the sign is free
    assert torch.allclose(table, again * signs, atol=1e-5)
    assert table[tokenizer.eos_id].abs().max() == 0


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


def test_a_teacher_with_more_token_rows_than_tokens_gives_a_row_for_each_token(tmp_path: Path) -> None:
    siglip(tmp_path / "teacher")
    change_json(tmp_path / "teacher/config.json", text_config={**_text_config(tmp_path / "teacher"), "vocab_size": 320})
    weights = load_file(tmp_path / "teacher/model.safetensors")
    name = "text_model.embeddings.token_embedding.weight"
    weights[name] = torch.cat([weights[name], torch.zeros(20, weights[name].shape[1])])
    save_file(weights, tmp_path / "teacher/model.safetensors", metadata={"format": "pt"})
    teacher = load_teacher(str(tmp_path / "teacher"))
    tiny = StudentConfig.model_validate(STUDENT)
    student, _, taken = build_student(tiny, teacher, ["a cat"], tmp_path / "cache")
    assert student.config.text.vocab_size == 300
    assert taken > 0


def _text_config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text("utf-8"))["text_config"])
