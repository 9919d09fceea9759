"""A ViT student as transformers and sentence-transformers load it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from conaclip_edge.bundle.golden_pictures import made_pictures
from conaclip_edge.data.preprocess import decode, to_pixels
from conaclip_edge.errors import UserError
from conaclip_edge.layouts.report import LayoutReport
from conaclip_edge.layouts.write import write_layout
from conaclip_edge.models.student.checkpoint import load_student
from tests.helpers.layouts.vit import write_vit

TEXTS = ["a photo of a cat", "dog " * 50, ""]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vit(tmp_path_factory.mktemp("vit") / "student")


@pytest.fixture(scope="module")
def written(student: Path) -> tuple[Path, LayoutReport]:
    report = write_layout(student, "huggingface")
    return student.with_name("student-huggingface"), report


def test_sentence_transformers_gives_the_student_s_embeddings(
    written: tuple[Path, LayoutReport], student: Path
) -> None:
    model, own = SentenceTransformer(str(written[0]), backend="torch"), load_student(student)
    pictures = [decode(data) for _, data in made_pictures()]
    pixels = torch.from_numpy(np.stack([to_pixels(one, 32) for one in pictures]).astype(np.float32) / 255)
    with torch.inference_mode():
        texts = [own.model.encode_text(torch.tensor([own.tokenizer.ids(text)]))[0].numpy() for text in TEXTS]
        images = own.model.encode_image(pixels).numpy()
    for found, right in ((model.encode(TEXTS), np.stack(texts)), (model.encode(pictures), images)):
        unit = found / np.linalg.norm(found, axis=1, keepdims=True)
        np.testing.assert_allclose((unit * right).sum(axis=1), 1, atol=1e-4)


def test_transformers_own_tokenizer_gives_the_golden_ids(written: tuple[Path, LayoutReport]) -> None:
    assert written[1].texts.ids_equal == written[1].texts.texts


def test_a_student_of_convolutions_is_sent_to_the_onnx_layout(bars: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no CLIPModel.*Lay its bundle out as transformers-js"):
        write_layout(bars / "student", "huggingface", tmp_path / "made")
