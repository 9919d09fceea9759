"""A plain ViT of OpenCLIP embeds here as in OpenCLIP, and what a user may get wrong ends in one line.

What OpenCLIP itself builds is compared where it is installed: `python -m tests.helpers.models.openclip_layouts`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from conaclip_edge.errors import ConaclipError, UserError
from conaclip_edge.models.teacher import tokenizer_json
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.models.teacher.openclip import tokenizer as openclip_tokenizer
from conaclip_edge.models.teacher.openclip.convert import convert
from conaclip_edge.models.teacher.openclip.layout import read_checkpoint
from conaclip_edge.models.teacher.openclip.library import teacher_config
from conaclip_edge.models.teacher.openclip.tokenizer import named_tokenizer
from conaclip_edge.models.tokenizer import TextTokenizer
from tests.helpers.command_line import Run
from tests.helpers.models.openclip_plain import CONTEXT, EXPECTED, LAYOUTS, PLAIN_FOLDER, TEXTS
from tests.helpers.models.tiny_teachers import pictures


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_json, "TOKENIZER_CACHE", tmp_path / "tokenizers")


@pytest.fixture(name="copy")
def _copy(tmp_path: Path) -> Path:
    """A plain ViT that the test may change."""
    return Path(shutil.copytree(PLAIN_FOLDER / "vit", tmp_path / "vit"))


def refusal(folder: Path) -> str:
    with pytest.raises(ConaclipError) as caught:
        load_teacher(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(folder: Path, tower: str, **values: Any) -> None:
    """Change what the config says of a tower."""
    content = json.loads((folder / "open_clip_config.json").read_text("utf-8"))
    content["model_cfg"].setdefault(tower, {}).update(values)
    (folder / "open_clip_config.json").write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_embeddings_are_those_of_openclip(layout: str) -> None:
    expected = load_file(PLAIN_FOLDER / layout / EXPECTED)
    teacher = load_teacher(str(PLAIN_FOLDER / layout))
    torch.testing.assert_close(teacher.embed_texts(TEXTS), expected["texts"], rtol=0, atol=2e-6)
    torch.testing.assert_close(teacher.embed_pictures(pictures()), expected["pictures"], rtol=0, atol=2e-6)
    # Random towers that gave every input the same vector would pass as well.
    for found in expected.values():
        assert torch.cdist(found[:4], found[:4])[~torch.eye(4, dtype=torch.bool)].min() > 1e-3


def test_a_student_inherits_the_tokenizer(copy: Path) -> None:
    teacher: Any = load_teacher(str(copy))
    student = TextTokenizer(teacher.tokenizer_file, CONTEXT)
    assert [student.ids(text) for text in TEXTS] == [
        teacher.tokenizer(text, truncation=True, max_length=CONTEXT)["input_ids"] for text in TEXTS
    ]


def test_its_text_layers_fit_a_clip_student(copy: Path) -> None:
    assert "text_model.encoder.layers.0.self_attn.q_proj.weight" in load_teacher(str(copy)).text_layers()


def test_without_openclip_a_tokenizer_is_needed_beside_the_weights(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "tokenizer.json").unlink()
    monkeypatch.setattr(openclip_tokenizer, "find_spec", lambda name: None)
    assert "has no tokenizer.json. Put the one of openai/clip-vit-base-patch32 beside its weights" in refusal(copy)


def test_a_plain_vit_converts_to_transformers(run: Run, copy: Path, tmp_path: Path) -> None:
    code, out, _ = run("convert", copy, "--out", tmp_path / "clip")
    assert (code, out.splitlines()[-1].partition(":")[0]) == (0, f"teacher in {tmp_path / 'clip'}")
    teacher = load_teacher(str(tmp_path / "clip"))
    assert torch.equal(teacher.embed_pictures(pictures()), load_teacher(str(copy)).embed_pictures(pictures()))


def test_what_transformers_has_not_does_not_convert(copy: Path, tmp_path: Path) -> None:
    change(copy, "vision_cfg", timm_model_name="convnext_base")
    with pytest.raises(UserError, match=r"does not convert: transformers' CLIP has no vision_cfg.timm_model_name\. It"):
        convert(copy, tmp_path / "clip")


@pytest.mark.parametrize(
    ("tower", "values"),
    [
        ("vision_cfg", {"timm_model_name": "fastvit_mci0"}),
        ("vision_cfg", {"pool_type": "avg"}),
        ("vision_cfg", {"layers": [1, 1, 1, 1]}),
        ("text_cfg", {"no_causal_mask": True}),
        ("text_cfg", {"hf_tokenizer_name": "lab/tokenizer"}),
        ("multimodal_cfg", {"layers": 1}),
    ],
)
def test_any_other_tower_needs_openclip(
    copy: Path, tower: str, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(copy, tower, **values)
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    assert "Install it: pip install 'conaclip-edge[open-clip]'" in refusal(copy)


def test_pickled_weights_are_refused_with_the_command_that_converts_them(copy: Path) -> None:
    weights = load_file(copy / "open_clip_model.safetensors")
    (copy / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, copy / "epoch_1.pt")
    message = refusal(copy)
    assert "has its weights in epoch_1.pt alone, which is not opened, since a pickle can run code." in message
    exec(message.partition('python -c "')[2].removesuffix('"'), {})
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
        ("vision_cfg", {"width": 32, "head_width": 16}, "open_clip_config.json asks for floats [32]. Do the two"),
        ("vision_cfg", {"layers": 3}, "which open_clip_config.json asks for. Do the two belong together?"),
        ("text_cfg", {"layers": 1}, "which open_clip_config.json does not ask for. Do the two belong together?"),
        ("text_cfg", {"heads": "many"}, "cannot use its config: ValueError"),
    ],
)
def test_a_config_that_fits_no_weights_is_named(copy: Path, tower: str, values: dict[str, Any], said: str) -> None:
    change(copy, tower, **values)
    assert said in refusal(copy)


@pytest.mark.parametrize(
    ("tower", "values", "said"),
    [
        ("vision_cfg", {"timm_model_name": "hf-hub:lab/tower"}, "'hf-hub:lab/tower' would be fetched from elsewhere."),
        ("text_cfg", {"hf_model_name": "lab/bert"}, "whose config.json is not beside its open_clip_config.json"),
    ],
)
def test_nothing_is_fetched_to_build_a_tower(copy: Path, tower: str, values: dict[str, Any], said: str) -> None:
    change(copy, tower, **values)
    with pytest.raises(UserError, match=said):
        teacher_config(read_checkpoint(copy, str(copy)), str(copy))


def test_a_named_tokenizer_cleans_as_openclip_does(copy: Path, family_folder: Callable[[str], Path]) -> None:
    """OpenCLIP's `canonicalize`: no punctuation, no capitals, an underscore is a space."""
    shutil.copy(family_folder("siglip2") / "tokenizer.json", copy)
    shutil.copy(family_folder("siglip2") / "tokenizer_config.json", copy)
    change(copy, "text_cfg", hf_tokenizer_name="lab/gemma", tokenizer_kwargs={"clean": "canonicalize"})
    tokenizer = named_tokenizer(read_checkpoint(copy, ""), "")
    assert tokenizer("A Snake_case,  “WORD”!")["input_ids"] == tokenizer("a snake case word")["input_ids"]


def test_a_folder_that_transformers_opens_is_not_openclips(copy: Path, family_folder: Callable[[str], Path]) -> None:
    """Hub models come with the files of both."""
    for file in family_folder("clip").iterdir():
        shutil.copy(file, copy)
    assert load_teacher(str(copy)).fingerprint == load_teacher(str(family_folder("clip"))).fingerprint


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


def test_info_says_what_opens_it(run: Run, copy: Path) -> None:
    assert "opened by" in run("info", copy)[1]
    change(copy, "vision_cfg", timm_model_name="fastvit_mci0")
    assert "OpenCLIP (extra open-clip), for its vision_cfg.timm_model_name" in run("info", copy)[1]
