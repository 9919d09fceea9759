"""A checkpoint of OpenCLIP embeds here as in OpenCLIP itself, whoever builds its towers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher import tokenizer_json
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.huggingface import TransformersTeacher
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.models.teacher.openclip import tokenizer as openclip_tokenizer
from conaclip_edge.models.teacher.openclip.convert import convert
from conaclip_edge.models.tokenizer import TextTokenizer
from tests.helpers.models.openclip_folders import BUILT, CONTEXT, PLAIN, write_clip_tokenizer
from tests.helpers.models.tiny_teachers import pictures
from tests.helpers.models.tiny_tokenizers import CAPTIONS

LAYOUTS = PLAIN | BUILT
TEXTS = [*CAPTIONS, "a cat and two dogs " * 20, "Snake_case, a “quoted” word."]


@pytest.fixture(scope="module", name="folders")
def _folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a layout, which no test may change."""
    root = tmp_path_factory.mktemp("openclip")

    def folder(layout: str) -> Path:
        if not (root / layout).exists():
            torch.manual_seed(0)
            LAYOUTS[layout](root / layout)
        return root / layout

    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_json, "TOKENIZER_CACHE", tmp_path / "tokenizers")


@pytest.fixture(name="copy")
def _copy(folders: Callable[[str], Path], tmp_path: Path) -> Path:
    """A plain ViT that the test may change."""
    return Path(shutil.copytree(folders("ViT"), tmp_path / "vit"))


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_teacher(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def of_openclip(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """What OpenCLIP makes of the texts and the pictures."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    with torch.no_grad():
        shown = torch.stack([preprocess(picture) for picture in pictures()])
        return model.encode_text(tokenizer(TEXTS), normalize=True), model.encode_image(shown, normalize=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_embeddings_are_those_of_openclip(folders: Callable[[str], Path], layout: str) -> None:
    folder = folders(layout)
    texts, shown = of_openclip(folder)
    teacher = load_teacher(str(folder))
    assert isinstance(teacher, TransformersTeacher) == (layout in PLAIN)
    torch.testing.assert_close(teacher.embed_texts(TEXTS), texts, rtol=0, atol=2e-5)
    torch.testing.assert_close(teacher.embed_pictures(pictures()), shown, rtol=0, atol=2e-5)
    # Random towers that gave every input the same vector would pass as well.
    assert torch.cdist(texts[:4], texts[:4])[~torch.eye(4, dtype=torch.bool)].min() > 1e-3
    assert torch.cdist(shown, shown)[~torch.eye(4, dtype=torch.bool)].min() > 1e-4


@pytest.mark.parametrize("layout", ["ViT", "MobileCLIP2-S0", "SigLIP 2", "MetaCLIP 2"])
def test_a_student_inherits_the_tokenizer(folders: Callable[[str], Path], layout: str) -> None:
    """Its ids are the teacher's up to where the text ends."""
    teacher: Teacher = load_teacher(str(folders(layout)))
    student = TextTokenizer(teacher.tokenizer_file, CONTEXT, ignore_padding=True)
    for text in TEXTS:
        ids = student.ids(text)
        own: Any = teacher.tokens([text])
        given = (own if isinstance(own, torch.Tensor) else own["input_ids"])[0].tolist()
        assert ids[:-1] == given[: len(ids) - 1], text


def test_without_openclip_a_plain_vit_needs_the_tokenizer_beside_it(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_teacher(str(copy)).embed_texts(TEXTS)
    monkeypatch.setattr(openclip_tokenizer, "find_spec", lambda name: None)
    assert "has no tokenizer.json. Put the one of openai/clip-vit-base-patch32 beside its weights" in refusal(copy)
    write_clip_tokenizer(copy)
    torch.testing.assert_close(load_teacher(str(copy)).embed_texts(TEXTS), expected)


def test_a_plain_vit_converts_to_transformers(copy: Path, tmp_path: Path) -> None:
    report = convert(copy, tmp_path / "clip")
    teacher = load_teacher(str(tmp_path / "clip"))
    assert report.embed_dim == teacher.embed_dim
    assert torch.equal(teacher.embed_pictures(pictures()), load_teacher(str(copy)).embed_pictures(pictures()))


def test_what_transformers_has_not_does_not_convert(folders: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not convert: transformers' CLIP has no vision_cfg.timm_model_name\. It"):
        convert(folders("ConvNeXt"), tmp_path / "clip")


def test_pickled_weights_are_refused_with_the_command_that_converts_them(copy: Path, tmp_path: Path) -> None:
    weights = load_file(copy / "open_clip_model.safetensors")
    (copy / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, copy / "epoch_1.pt")
    message = refusal(copy)
    assert "has its weights in epoch_1.pt alone, which is not opened, since a pickle can run code." in message
    exec(message.partition('python -c "')[2].removesuffix('"'))
    assert load_file(copy / "open_clip_model.safetensors").keys() == weights.keys()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "must hold keys and values, not list"),
        ('{"vision_cfg": {}}', "has vision_cfg; a model_cfg with vision_cfg and text_cfg is needed. Known towers: its"),
        ('{"model_cfg": {"vision_cfg": {}}}', "has model_cfg; a model_cfg with vision_cfg and text_cfg is needed."),
    ],
)
def test_an_unknown_layout_says_what_was_found_and_what_is_known(copy: Path, content: str, said: str) -> None:
    (copy / "open_clip_config.json").write_text(content, "utf-8")
    assert said in refusal(copy)


@pytest.mark.parametrize(
    ("tower", "values", "said"),
    [
        ("vision_cfg", {"timm_model_name": "no_such_tower"}, "cannot build its towers: RuntimeError: Unknown model"),
        ("vision_cfg", {"timm_model_name": "hf-hub:lab/tower"}, "'hf-hub:lab/tower' would be fetched from elsewhere."),
        ("text_cfg", {"hf_model_name": "lab/bert"}, "whose config.json is not beside its open_clip_config.json"),
        ("vision_cfg", {"width": 96}, "open_clip_config.json asks for floats [96]. Do the two belong together?"),
        ("vision_cfg", {"layers": 3}, "which open_clip_config.json asks for. Do the two belong together?"),
        ("text_cfg", {"layers": 1}, "which open_clip_config.json does not ask for. Do the two belong together?"),
    ],
)
def test_a_config_that_fits_no_weights_is_named(copy: Path, tower: str, values: dict[str, Any], said: str) -> None:
    content = json.loads((copy / "open_clip_config.json").read_text("utf-8"))
    content["model_cfg"][tower] |= values
    (copy / "open_clip_config.json").write_text(json.dumps(content), "utf-8")
    assert said in refusal(copy)


def test_a_folder_that_transformers_opens_is_not_openclips(copy: Path, family_folder: Callable[[str], Path]) -> None:
    """Hub models come with the files of both."""
    for file in family_folder("clip").iterdir():
        shutil.copy(file, copy)
    assert load_teacher(str(copy)).embed_dim == load_teacher(str(family_folder("clip"))).embed_dim


def test_weights_that_are_no_numbers_are_refused(copy: Path) -> None:
    weights = load_file(copy / "open_clip_model.safetensors")
    weights["visual.proj"][0, 0] = float("nan")
    save_file(weights, copy / "open_clip_model.safetensors")
    assert "visual.proj holds values that are no finite numbers" in refusal(copy)


def test_the_fingerprint_changes_with_a_weight(copy: Path) -> None:
    known = load_teacher(str(copy)).fingerprint
    weights = load_file(copy / "open_clip_model.safetensors")
    weights["visual.proj"][0, 0] += 0.5
    save_file(weights, copy / "open_clip_model.safetensors")
    assert load_teacher(str(copy)).fingerprint != known
