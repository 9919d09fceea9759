"""A teacher embeds as its own transformers model does, whatever the family and the batch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from conaclip_edge.models.teacher import tokenizer_json as teacher_tokenizer
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.huggingface import TransformersTeacher
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.models.tokenizer import TextTokenizer
from tests.helpers.models.tiny_teachers import CONTEXT, FAMILIES, pictures, siglip2_fixed
from tests.helpers.models.tiny_tokenizers import CAPTIONS

Folder = Callable[[str], Path]
Load = Callable[[str], TransformersTeacher]
LONG = "a cat and two dogs " * 60
ORACLES = {
    "clip": (transformers.CLIPModel, transformers.CLIPImageProcessorPil),
    "clip_old": (transformers.CLIPModel, transformers.CLIPImageProcessorPil),
    "siglip": (transformers.SiglipModel, transformers.SiglipImageProcessorPil),
    "siglip2": (transformers.Siglip2Model, transformers.Siglip2ImageProcessorPil),
    "chinese_clip": (transformers.ChineseCLIPModel, transformers.ChineseCLIPImageProcessorPil),
    "altclip": (transformers.AltCLIPModel, transformers.CLIPImageProcessorPil),
    "metaclip_2": (transformers.MetaClip2Model, transformers.CLIPImageProcessorPil),
    "vision_text": (transformers.VisionTextDualEncoderModel, transformers.ViTImageProcessorPil),
}
TABLES = {
    "clip": "text_model.embeddings.token_embedding.weight",
    "clip_old": "text_model.embeddings.token_embedding.weight",
    "siglip": "text_model.embeddings.token_embedding.weight",
    "siglip2": "text_model.embeddings.token_embedding.weight",
    "chinese_clip": "text_model.embeddings.word_embeddings.weight",
    "altclip": "text_model.roberta.embeddings.word_embeddings.weight",
    "metaclip_2": "text_model.embeddings.token_embedding.weight",
    "vision_text": "text_model.embeddings.word_embeddings.weight",
}

assert ORACLES.keys() == TABLES.keys() == FAMILIES.keys()


@torch.no_grad()
def oracle(folder: Path, family: str, texts: list[str]) -> tuple[Tensor, Tensor]:
    """The model's own forward pass, one text and one picture at a time, without padding where it needs none."""
    model_class, processor_class = ORACLES[family]
    model: Any = model_class.from_pretrained(folder).eval()
    processor = processor_class.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if family.startswith("siglip") else False
    embedded_texts, embedded_pictures = [], []
    for text in texts:
        ids = tokenizer([text], padding=padding, truncation=True, max_length=CONTEXT, return_tensors="pt")
        output = model(**ids, **processor(pictures()[:1], return_tensors="pt"))
        embedded_texts.append(output.text_embeds[0])
    for picture in pictures():
        output = model(**ids, **processor([picture], return_tensors="pt"))
        embedded_pictures.append(output.image_embeds[0])
    return torch.stack(embedded_texts), torch.stack(embedded_pictures)


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_are_those_of_the_model_itself(family_folder: Folder, family_teacher: Load, family: str) -> None:
    texts = [*CAPTIONS, LONG]
    expected_texts, expected_pictures = oracle(family_folder(family), family, texts)
    teacher = family_teacher(family)
    found_texts, found_pictures = teacher.embed_texts(texts), teacher.embed_pictures(pictures())
    torch.testing.assert_close(found_texts, expected_texts, rtol=0, atol=2e-6)
    torch.testing.assert_close(found_pictures, expected_pictures, rtol=0, atol=2e-6)
    # Random towers that gave every input the same vector would pass as well.
    assert torch.cdist(found_texts[:4], found_texts[:4])[~torch.eye(4, dtype=torch.bool)].min() > 1e-3
    assert torch.cdist(found_pictures, found_pictures)[~torch.eye(4, dtype=torch.bool)].min() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_rest_of_a_batch_does_not_change_an_embedding(family_teacher: Load, family: str) -> None:
    teacher = family_teacher(family)
    texts = ["a cat", LONG, "", "the flag of Brazil, waving"]
    alone = torch.cat([teacher.embed_texts([text]) for text in texts])
    torch.testing.assert_close(teacher.embed_texts(texts), alone, rtol=0, atol=2e-6)
    alone = torch.cat([teacher.embed_pictures([picture]) for picture in pictures()])
    torch.testing.assert_close(teacher.embed_pictures(pictures()), alone, rtol=0, atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_are_unit_vectors_of_one_space(family_teacher: Load, family: str) -> None:
    teacher = family_teacher(family)
    texts, shown = teacher.embed_texts(list(CAPTIONS)), teacher.embed_pictures(pictures())
    assert texts.shape == (len(CAPTIONS), teacher.embed_dim)
    assert shown.shape == (4, teacher.embed_dim)
    for embedding in (texts, shown):
        assert embedding.dtype == torch.float32
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(len(embedding)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_its_temperature_is_that_of_its_logit_scale(family_folder: Folder, family_teacher: Load, family: str) -> None:
    scale = load_file(family_folder(family) / "model.safetensors")["logit_scale"]
    assert family_teacher(family).temperature == pytest.approx(float((-scale).exp()), rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_mode_and_gradients_stay_off(family_teacher: Load, family: str) -> None:
    teacher = family_teacher(family)
    assert isinstance(teacher, Teacher)
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher.embed_texts(["a cat"]).requires_grad
    assert not teacher.embed_pictures(pictures()).requires_grad


@pytest.mark.parametrize("family", FAMILIES)
def test_the_token_table_is_the_text_tower_s(family_folder: Folder, family_teacher: Load, family: str) -> None:
    weights = load_file(family_folder(family) / "model.safetensors")
    assert torch.equal(family_teacher(family).token_table(), weights[TABLES[family]])


@pytest.mark.parametrize("family", FAMILIES)
def test_students_inherit_the_ids_that_the_teacher_reads(family_teacher: Load, family: str) -> None:
    teacher = family_teacher(family)
    inherited = TextTokenizer(teacher.tokenizer_file, context=CONTEXT)
    for text in (*CAPTIONS[:-1], LONG, "UPPER case, (punctuation)…", "e\u0301 ﬁ ß", "\ttabs\nand  spaces "):
        assert inherited.ids(text) == teacher.tokenizer(text, truncation=True, max_length=CONTEXT)["input_ids"]
    assert inherited.vocab_size <= len(teacher.token_table())


@pytest.mark.parametrize("family", ["clip", "clip_old"])
def test_clip_lends_its_text_layers(family_teacher: Load, family: str) -> None:
    teacher = family_teacher(family)
    config = teacher.model.config.text_config.to_dict() | {"projection_dim": teacher.embed_dim}
    tower = transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(**config)).eval()
    tower.load_state_dict(teacher.text_layers())
    ids = teacher.tokenizer(["a photo of a cat"], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        embedding = F.normalize(tower(input_ids=ids).text_embeds, dim=-1)
    torch.testing.assert_close(embedding, teacher.embed_texts(["a photo of a cat"]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("family", [family for family in FAMILIES if not family.startswith("clip")])
def test_other_families_lend_no_text_layers(family_teacher: Load, family: str) -> None:
    assert family_teacher(family).text_layers() == {}


@pytest.mark.parametrize("family", ["clip", "chinese_clip", "altclip"])
@pytest.mark.parametrize("setting", [{"padding_side": "left"}, {"model_input_names": ["input_ids"]}])
def test_no_setting_of_a_tokenizer_lets_padding_change_an_embedding(
    family_folder: Folder,
    family_teacher: Load,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    setting: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(family_folder(family), tmp_path / family)
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8")) | setting
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    texts = ["a cat", LONG, ""]
    expected = torch.cat([family_teacher(family).embed_texts([text]) for text in texts])
    torch.testing.assert_close(TransformersTeacher(str(folder)).embed_texts(texts), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_siglip_reads_padding_as_it_was_trained_to(
    family_folder: Folder, family_teacher: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """A tokenizer that offers a mask, as new ones do, must not hide the padding from the tower."""
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(family_folder(family), tmp_path / family)
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    settings["model_input_names"] = ["input_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    assert "attention_mask" in transformers.AutoTokenizer.from_pretrained(folder)("a cat")
    expected = family_teacher(family).embed_texts(["a cat"])
    assert torch.equal(TransformersTeacher(str(folder)).embed_texts(["a cat"]), expected)


@pytest.fixture(name="copy")
def _copy(family_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CLIP folder that the test may change."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(family_folder("clip"), tmp_path / "clip"))


def test_its_own_tokenizer_file_is_taken_where_it_says_the_same(copy: Path) -> None:
    assert TransformersTeacher(str(copy)).tokenizer_file == copy / "tokenizer.json"
    assert not teacher_tokenizer.TOKENIZER_CACHE.exists()


def test_a_tokenizer_file_that_says_something_else_is_replaced(copy: Path) -> None:
    """transformers' CLIP tokenizer lowers the case, whatever the file says: so must the student's."""
    content = json.loads((copy / "tokenizer.json").read_text("utf-8"))
    content["normalizer"] = None
    (copy / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    teacher = TransformersTeacher(str(copy))
    assert teacher.tokenizer_file.is_relative_to("runs/cache/tokenizers")
    assert TextTokenizer(teacher.tokenizer_file, CONTEXT).ids("A Cat") == teacher.tokenizer("a cat")["input_ids"]
    assert TransformersTeacher(str(copy)).tokenizer_file == teacher.tokenizer_file


def test_half_precision_weights_are_widened(copy: Path) -> None:
    weights = {name: value.half() for name, value in load_file(copy / "model.safetensors").items()}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((copy / "config.json").read_text("utf-8")) | {"dtype": "float16"}
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    teacher = TransformersTeacher(str(copy))
    assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float32}
    assert teacher.embed_texts(["a cat"]).dtype == torch.float32


def test_weights_in_several_files_are_read_and_hashed(copy: Path, family_teacher: Load) -> None:
    model = transformers.CLIPModel.from_pretrained(copy)
    (copy / "model.safetensors").unlink()
    model.save_pretrained(copy, max_shard_size="100KB")
    assert len(list(copy.glob("model-*.safetensors"))) > 1
    teacher = TransformersTeacher(str(copy))
    assert torch.equal(teacher.embed_texts(list(CAPTIONS)), family_teacher("clip").embed_texts(list(CAPTIONS)))
    shard = sorted(copy.glob("model-*.safetensors"))[-1]
    weights = load_file(shard)
    save_file({name: value + 1 for name, value in weights.items()}, shard, metadata={"format": "pt"})
    assert TransformersTeacher(str(copy)).fingerprint != teacher.fingerprint


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer_config.json", "tokenizer.json"])
def test_the_fingerprint_changes_with_every_part(copy: Path, family_teacher: Load, name: str) -> None:
    known = family_teacher("clip").fingerprint
    assert TransformersTeacher(str(copy)).fingerprint == known
    (copy / "README.md").write_text("a note", "utf-8")
    assert TransformersTeacher(str(copy)).fingerprint == known
    (copy / name).write_text((copy / name).read_text("utf-8") + " ", "utf-8")
    assert TransformersTeacher(str(copy)).fingerprint != known


def test_the_fingerprint_changes_with_a_weight(copy: Path, family_teacher: Load) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["visual_projection.weight"][0, 0] += 0.5
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert TransformersTeacher(str(copy)).fingerprint != family_teacher("clip").fingerprint


def test_a_folder_is_loaded_by_what_its_config_says(copy: Path) -> None:
    teacher = load_teacher(str(copy))
    assert isinstance(teacher, TransformersTeacher)
    assert teacher.name == "clip"


def test_broken_characters_are_embedded_as_the_replacement_character(family_teacher: Load) -> None:
    teacher = family_teacher("clip")
    assert torch.equal(teacher.embed_texts(["caf\udce9"]), teacher.embed_texts(["caf\ufffd"]))


def test_siglip_2_of_a_fixed_resolution_reads_every_text_in_lower_case(tmp_path: Path) -> None:
    """Its files say model_type siglip and come with Gemma's tokenizer, which keeps case; it was trained without."""
    siglip2_fixed(tmp_path / "teacher")
    teacher = TransformersTeacher(str(tmp_path / "teacher"))
    one, other = teacher.embed_texts(["a red dog", "A Red Dog"])
    assert torch.equal(one, other)
    inherited = Tokenizer.from_file(str(teacher.tokenizer_file))
    assert inherited.encode("A Red Dog").ids == inherited.encode("a red dog").ids
