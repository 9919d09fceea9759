"""A folder of SigLIP, or of SigLIP 2 of a fixed resolution, is read as a student that embeds as transformers does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from torch.nn import functional as F

from conaclip_edge.config.model import StudentConfig
from conaclip_edge.data.preprocess import Preprocess, to_pixels
from conaclip_edge.errors import UserError
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.models.student.checkpoint import Student, load_student, save_student
from conaclip_edge.models.student.presets import student_shape
from conaclip_edge.models.teacher.load import load_teacher
from tests.helpers.models.clip_folders import change_json
from tests.helpers.models.tiny_teachers import CONTEXT, pictures, siglip, siglip2_fixed
from tests.helpers.models.tiny_tokenizers import CAPTIONS

WRITERS: dict[str, Callable[[Path], None]] = {"siglip": siglip, "siglip2": siglip2_fixed}
TEXTS = [*CAPTIONS, "A Cat, on the RED sofa!", "", "word " * 60]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give the folders of both, which no test may change."""
    root = tmp_path_factory.mktemp("siglips")
    for name, write in WRITERS.items():
        torch.manual_seed(0)
        write(root / name)
    change_json(root / "siglip2" / "preprocessor_config.json", resample=2)
    return {name: root / name for name in WRITERS}


@pytest.fixture(scope="module")
def students(folders: dict[str, Path]) -> dict[str, Student]:
    """Give both as students."""
    return {name: load_student(folder) for name, folder in folders.items()}


@pytest.mark.parametrize("name", WRITERS)
@torch.no_grad()
def test_both_towers_embed_as_transformers_does(
    name: str, folders: dict[str, Path], students: dict[str, Student]
) -> None:
    theirs: Any = transformers.SiglipModel.from_pretrained(folders[name]).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folders[name], backend="pil")
    student = students[name]
    towers, preprocess = build_towers(student.model, name), Preprocess.of(student.model.config.image)
    for picture in pictures():
        given = processor(images=picture, return_tensors="pt")
        wanted = theirs.get_image_features(**given).pooler_output
        pixels = torch.from_numpy(to_pixels(picture, preprocess)).float()[None] / 255
        for found in (student.model.encode_image(pixels), towers.image(pixels)):
            assert F.cosine_similarity(found, wanted).min() > 0.99999
    ids = torch.from_numpy(student.tokenizer(TEXTS))
    wanted = theirs.get_text_features(input_ids=ids.long()).pooler_output
    for found in (student.model.encode_text(ids), towers.text(ids)):
        assert F.cosine_similarity(found, wanted).min() > 0.99999


@pytest.mark.parametrize("name", WRITERS)
def test_texts_have_the_ids_that_the_model_was_trained_on(
    name: str, folders: dict[str, Path], students: dict[str, Student]
) -> None:
    teacher: Any = load_teacher(str(folders[name]))
    tokenizer = students[name].tokenizer
    plain = Tokenizer.from_str(tokenizer.content)
    for text in TEXTS:
        wanted = teacher.tokens([text])["input_ids"][0].tolist()
        assert tokenizer.ids(text) == plain.encode(text).ids == wanted
        assert len(wanted) == CONTEXT
    assert tokenizer.ids("A Cat") == tokenizer.ids("a cat")
    assert tokenizer.cuts("word " * 60)
    assert not tokenizer.cuts("word")


def test_pictures_are_squashed_by_the_filter_of_the_checkpoint(students: dict[str, Student]) -> None:
    found = {name: Preprocess.of(student.model.config.image) for name, student in students.items()}
    assert found == {"siglip": Preprocess(32, "squash", "bicubic"), "siglip2": Preprocess(32, "squash", "bilinear")}


def test_a_saved_student_is_read_back(students: dict[str, Student], tmp_path: Path) -> None:
    import json

    student = students["siglip"]
    save_student(student.model, json.loads(student.tokenizer.content), {}, tmp_path / "student")
    again = load_student(tmp_path / "student")
    assert again.tokenizer.ids("a cat") == student.tokenizer.ids("a cat")
    ids = torch.from_numpy(student.tokenizer(["a cat"]))
    assert np.array_equal(again.model.encode_text(ids).detach(), student.model.encode_text(ids).detach())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_config": {"vision_use_head": False}}, r"no pooling head"),
        ({"text_config": {"projection_size": 48}}, r"pictures become 32 numbers, its texts 48"),
        ({"vision_config": {"image_size": 64}}, r"pictures are made 32 pixels wide, but its tower takes 64"),
        ({"text_config": {"hidden_act": "silu"}}, r"activation 'silu' has no form for export"),
        ({"text_config": {"vocab_size": 250}}, r"tokenizer has 300 tokens, its token table only 250 rows"),
    ],
)
def test_a_shape_that_cannot_be_exported_is_named(
    folders: dict[str, Path], tmp_path: Path, changes: dict[str, dict[str, object]], message: str
) -> None:
    import json

    folder = Path(shutil.copytree(folders["siglip"], tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    change_json(folder / "config.json", **{part: config[part] | values for part, values in changes.items()})
    with pytest.raises(UserError, match=message):
        load_student(folder)


def test_a_recipe_with_siglips_text_tower_is_refused() -> None:
    with pytest.raises(UserError, match=r"student\.text\.kind is 'siglip': .* export SIGLIP_FOLDER"):
        student_shape(StudentConfig(text={"kind": "siglip"}))
