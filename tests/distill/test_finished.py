"""The checkpoint folder: every file of the contract, and for a ViT student a CLIP that transformers loads."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from conaclip_edge.data.preprocess import to_pixels
from conaclip_edge.distill.loss_curves import draw_curves
from conaclip_edge.distill.trainer import distill
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.checkpoint import load_student
from tests.helpers import tiny

CONTRACT = {"config.json", "model.safetensors", "tokenizer.json", "preprocess.json", "training.json"}
TEXTS = ["a red disc", "", "blue " * 20, "猫 🐈", "x"]
MOBILE = {
    "preset": "demo",
    "image": {"size": 32, "stages": [[1, 16, 1, 3, 1], [6, 24, 2, 3, 2]]},
    "text": {"width": 32, "layers": 1, "heads": 2, "mlp": 32, "context": 24},
}


@pytest.fixture(scope="module")
def vit(world: Path, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished ViT student, the plot included."""
    home = tmp_path_factory.mktemp("vit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))
        distill(settings(), home / "student")
    return home / "student"


def test_the_folder_holds_every_file_of_the_contract(vit: Path) -> None:
    names = {path.name for path in vit.iterdir()}
    assert names == CONTRACT | {"preprocessor_config.json", "training.jsonl", "curves.svg"}
    assert not list(vit.parent.glob(".*"))
    preprocess = json.loads((vit / "preprocess.json").read_text("utf-8"))
    assert preprocess["size"] == 32
    assert preprocess["schema"].startswith("conaclip-edge/preprocess/")
    assert {"recipe", "graph", "data", "teacher", "versions", "val"} <= set(
        json.loads((vit / "training.json").read_text("utf-8"))
    )


def test_the_curves_are_a_picture_that_names_every_term(vit: Path, tmp_path: Path) -> None:
    root = ElementTree.parse(vit / "curves.svg").getroot()
    assert root.tag.endswith("}svg")
    drawn = (vit / "curves.svg").read_text("utf-8")
    terms = json.loads((vit / "training.json").read_text("utf-8"))["graph"]
    for term in terms:
        assert f">{term['edge']}/{term['loss']}</text>" in drawn
    draw_curves(vit / "training.jsonl", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text("utf-8") == drawn


def test_a_mobile_student_has_the_same_files_but_those_of_transformers(settings: Any) -> None:
    distill(settings(steps=2, student=MOBILE), Path("out"))
    assert {path.name for path in Path("out").iterdir()} == CONTRACT | {"training.jsonl", "curves.svg"}
    assert load_student(Path("out")).model.config.image.kind == "mobile"


def test_transformers_loads_it_as_a_clip_with_the_same_features(vit: Path) -> None:
    from transformers import CLIPImageProcessorPil, CLIPModel

    clip, report = CLIPModel.from_pretrained(vit, output_loading_info=True)
    assert not any(report.values()), report
    student = load_student(vit)
    pictures = [
        tiny.drawing("red", "disc", "left"),
        Image.effect_mandelbrot((90, 40), (-2, -1, 1, 1), 50).convert("RGB"),
    ]
    processed = CLIPImageProcessorPil.from_pretrained(vit)(images=pictures, return_tensors="pt")
    pixels = torch.from_numpy(np.stack([to_pixels(picture, 32) for picture in pictures])).float() / 255
    ids = torch.from_numpy(student.tokenizer(TEXTS)).long()
    with torch.no_grad():
        theirs = clip.get_image_features(**processed).pooler_output
        ours = student.model.encode_image(pixels)
        assert torch.allclose(torch.nn.functional.normalize(theirs, dim=-1), ours, atol=2e-5)
        theirs = clip.get_text_features(input_ids=ids).pooler_output
        assert torch.allclose(torch.nn.functional.normalize(theirs, dim=-1), student.model.encode_text(ids), atol=2e-6)
    assert clip.logit_scale.item() == student.model.logit_scale.item()


def test_transformers_tokenises_as_the_checkpoint_does(vit: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(tokenizer_file=str(vit / "tokenizer.json"))
    ours = load_student(vit).tokenizer
    for text in TEXTS:
        assert theirs(text)["input_ids"][:23] == ours.ids(text)[:23]


def test_a_loaded_student_is_the_trained_one(vit: Path, world: Path) -> None:
    student = load_student(vit)
    assert not student.model.training
    assert student.training["val"]["mean_recall"] > 0
    assert set(load_file(vit / "model.safetensors")) >= {"logit_scale", "visual_projection.weight"}
    assert student.model.config.embed_dim == 16


def test_weights_that_a_plain_clip_lists_beside_positions_are_loaded(vit: Path, tmp_path: Path) -> None:
    """As in the checkpoints that CLIP was published with."""
    plain = tmp_path / "plain"
    plain.mkdir()
    config = json.loads((vit / "config.json").read_text("utf-8"))
    del config["conaclip_edge"]
    (plain / "config.json").write_text(json.dumps(config), "utf-8")
    (plain / "tokenizer.json").write_bytes((vit / "tokenizer.json").read_bytes())
    (plain / "preprocessor_config.json").write_bytes((vit / "preprocessor_config.json").read_bytes())
    positions = {"text_model.embeddings.position_ids": torch.arange(24)[None]}
    save_file(load_file(vit / "model.safetensors") | positions, plain / "model.safetensors")
    one, other = load_student(vit).model, load_student(plain).model
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert other.config.text == one.config.text
    pixels = torch.rand(2, 3, 32, 32)
    assert torch.allclose(one.encode_image(pixels), other.encode_image(pixels), atol=1e-6)


def test_a_pickled_checkpoint_is_refused_and_never_opened(vit: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_bytes((vit / "config.json").read_bytes())
    trap = tmp_path / "opened"

    class Bad:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (trap,)

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bad()))
    with pytest.raises(UserError, match=r"has no model\.safetensors\. It has pytorch_model\.bin, which is refused"):
        load_student(folder)
    assert not trap.exists()


@pytest.mark.parametrize("damage", ["truncated", "other shape", "missing"])
def test_weights_that_do_not_fit_are_named_in_a_line(vit: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    for path in vit.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    file = folder / "model.safetensors"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        weights = load_file(file)
        value = weights.pop("logit_scale")
        if damage == "other shape":
            weights["logit_scale"] = value.repeat(2)
        save_file(weights, file)
    with pytest.raises(UserError, match=r"weights .*model\.safetensors do not fit config\.json: ") as error:
        load_student(folder)
    assert "\n" not in str(error.value)
