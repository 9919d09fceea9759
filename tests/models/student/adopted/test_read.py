"""A CLIPModel folder of others is read as a student that embeds as transformers' own model does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from conaclip_edge.data.preprocess import to_pixels
from conaclip_edge.errors import UserError
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.models.student.checkpoint import load_student
from tests.helpers.models.clip_folders import PUBLISHED, change_json, shards
from tests.helpers.models.tiny_teachers import pictures
from tests.helpers.models.tiny_tokenizers import CAPTIONS

Copy = Callable[..., Path]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a folder as one is published, which no test may change."""
    root = tmp_path_factory.mktemp("published")

    def folder(name: str) -> Path:
        if not (root / name).exists():
            torch.manual_seed(0)
            PUBLISHED[name](root / name)
        return root / name

    return folder


@pytest.fixture
def copy(published: Callable[[str], Path], tmp_path: Path) -> Copy:
    """Give a copy of a folder as one is published."""
    return lambda name="float32": Path(shutil.copytree(published(name), tmp_path / "copy"))


@pytest.mark.parametrize("name", PUBLISHED)
@torch.no_grad()
def test_both_towers_embed_as_transformers_does(name: str, published: Callable[[str], Path]) -> None:
    folder = published(name)
    theirs: Any = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = transformers.CLIPImageProcessorPil.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    student = load_student(folder)
    towers = build_towers(student.model, "test")
    # sizes of which both make the same whole number of pixels
    shown = [picture.resize(size) for picture, size in zip(pictures(), ((64, 32), (32, 96), (40, 40)), strict=False)]
    for picture in shown:
        wanted = theirs.get_image_features(**processor(images=[picture], return_tensors="pt")).pooler_output
        pixels = torch.from_numpy(to_pixels(picture, 32)).float()[None] / 255
        for found in (student.model.encode_image(pixels), towers.image(pixels)):
            assert F.cosine_similarity(wanted, found).min() > 0.99999
    for text in CAPTIONS:
        ids = tokenizer(text, truncation=True, max_length=16, return_tensors="pt")["input_ids"]
        wanted = theirs.get_text_features(input_ids=ids).pooler_output
        ours = torch.from_numpy(student.tokenizer([text]))
        assert np.array_equal(ids[0], ours[0])
        for found in (student.model.encode_text(ours), towers.text(ours)):
            assert F.cosine_similarity(wanted, found).min() > 0.99999


def test_all_weights_are_float32_whatever_the_file_holds(published: Callable[[str], Path]) -> None:
    for name in ("float16", "bfloat16"):
        kinds = {parameter.dtype for parameter in load_student(published(name)).model.parameters()}
        assert kinds == {torch.float32}


def test_shards_give_the_weights_of_one_file(published: Callable[[str], Path]) -> None:
    one, other = load_student(published("float32")).model, load_student(published("shards")).model
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_slow_tokenizer_is_converted_and_the_folder_stays_as_it_was(published: Callable[[str], Path]) -> None:
    folder = published("slow tokenizer, end of text 2")
    content = json.loads(load_student(folder).tokenizer.content)
    assert not (folder / "tokenizer.json").exists()
    assert content["truncation"]["max_length"] == 16
    assert content["padding"] is None


def test_the_record_says_that_it_was_not_distilled(published: Callable[[str], Path]) -> None:
    training = load_student(published("float32")).training
    assert training["adopted"] == {"family": "CLIP"}
    assert training["parameters"]["all"] > 10_000


def test_pictures_that_are_not_normalised_and_another_scale_are_read(copy: Copy) -> None:
    folder = copy()
    change_json(folder / "preprocessor_config.json", do_normalize=False)
    assert load_student(folder).model.config.image.mean == (0, 0, 0)
    assert load_student(folder).model.config.image.std == (1, 1, 1)
    change_json(folder / "preprocessor_config.json", do_normalize=True, do_rescale=False, image_mean=[127.5] * 3)
    assert load_student(folder).model.config.image.mean == (0.5, 0.5, 0.5)
    change_json(folder / "preprocessor_config.json", do_rescale=True, image_std=[0.5, 0.25, 0.125])
    assert load_student(folder).model.config.image.std == (0.5, 0.25, 0.125)


def test_pictures_that_are_squashed_or_resized_by_bilinear_are_read(copy: Copy) -> None:
    folder = copy()
    change_json(folder / "preprocessor_config.json", do_center_crop=False, size={"height": 32, "width": 32})
    assert load_student(folder).model.config.image.resize == "squash"
    change_json(folder / "preprocessor_config.json", do_center_crop=True, size=32, crop_size=32, resample=2)
    image = load_student(folder).model.config.image
    assert (image.resize, image.resample) == ("crop", "bilinear")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"do_center_crop": False}, r"pictures are resized to \{'shortest_edge': 32\}, and not cropped to a square"),
        ({"size": {"shortest_edge": 40}}, r"pictures are resized to \{'shortest_edge': 40\}, and cropped to \{"),
        ({"resample": 1}, r"resample is 1, not 2 \(bilinear\) or 3 \(bicubic\)"),
        ({"resample": ["x"]}, r"resample is "),
        ({"do_resize": False}, r"do_resize is false"),
        ({"image_std": [0, 1, 1]}, r"image_std is \[0\.0, 1\.0, 1\.0\]"),
        ({"image_mean": ["x"] * 3}, r"image_mean is x"),
        ({"image_processor_type": "ViTImageProcessor", "resample": None}, r"it is a ViTImageProcessor, and leaves out"),
    ],
)
def test_a_preprocessing_that_a_bundle_does_not_have_is_refused(
    copy: Copy, values: dict[str, Any], reason: str
) -> None:
    folder = copy()
    change_json(folder / "preprocessor_config.json", **values)
    with pytest.raises(UserError, match=reason) as caught:
        load_student(folder)
    assert "conaclip-edge init PICTURES --teacher" in str(caught.value)


def test_a_tower_that_takes_another_size_than_its_pictures_have_is_refused(copy: Copy) -> None:
    folder = copy()
    square = {"height": 48, "width": 48}
    change_json(folder / "preprocessor_config.json", size={"shortest_edge": 48}, crop_size=square)
    with pytest.raises(UserError, match=r"its pictures are made 48 pixels wide, but its tower takes 32\.$"):
        load_student(folder)


def change_config(folder: Path, section: str, **values: Any) -> None:
    content = json.loads((folder / "config.json").read_text("utf-8"))
    change_json(folder / "config.json", **{section: content[section] | values})


def test_an_activation_without_a_form_for_export_is_refused(copy: Copy) -> None:
    folder = copy()
    change_config(folder, "text_config", hidden_act="gelu_new")
    with pytest.raises(UserError, match=r"its activation 'gelu_new' has no form for export; known: "):
        load_student(folder)


def test_a_text_tower_that_is_pooled_elsewhere_is_refused(copy: Copy) -> None:
    folder = copy()
    change_config(folder, "text_config", eos_token_id=7)
    with pytest.raises(UserError, match=r"its tokenizer ends a text with id \d+, its text tower is pooled at 7"):
        load_student(folder)


def test_a_tokenizer_with_more_tokens_than_the_table_is_refused(copy: Copy) -> None:
    folder = copy()
    file = folder / "model.safetensors"
    weights = load_file(file)
    table = "text_model.embeddings.token_embedding.weight"
    weights[table] = weights[table][:-10].clone()
    save_file(weights, file)
    change_config(folder, "text_config", vocab_size=len(weights[table]))
    with pytest.raises(UserError, match=r"its tokenizer has 1114 tokens, its token table only 1104 rows"):
        load_student(folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/tmp/model.safetensors", "model-00001.bin"])
def test_an_index_names_no_file_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    shards(tmp_path / "copy")
    index = tmp_path / "copy" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"logit_scale": name}}), "utf-8")
    with pytest.raises(UserError, match=r"which is no safetensors file beside it"):
        load_student(tmp_path / "copy")


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    shards(tmp_path / "copy")
    (tmp_path / "copy" / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"names model-00002-of-00002\.safetensors, which is not there"):
        load_student(tmp_path / "copy")


def test_weights_of_whole_numbers_are_refused(copy: Copy) -> None:
    file = copy() / "model.safetensors"
    save_file({name: (10 * value).to(torch.int8) for name, value in load_file(file).items()}, file)
    with pytest.raises(UserError, match=r"holds torch\.int8, no floats"):
        load_student(file.parent)


def test_a_config_that_claims_more_than_the_weights_hold_takes_no_memory(copy: Copy) -> None:
    folder = copy()
    change_config(folder, "text_config", hidden_size=2**20, intermediate_size=2**22)
    with pytest.raises(UserError, match=r"do not fit config\.json"):
        load_student(folder)
