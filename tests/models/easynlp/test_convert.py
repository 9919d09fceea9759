"""Checkpoints in EasyNLP's layout become teachers that say the same, and wrong or hostile ones end in one line."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from conaclip_edge.errors import UserError
from conaclip_edge.models.easynlp.convert import convert
from conaclip_edge.models.teacher import tokenizer_json as teacher_tokenizer
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.load import load_teacher
from tests.helpers.command_line import Run
from tests.helpers.models.easynlp_folders import (
    CONTEXT,
    DIM,
    MEAN,
    SIDE,
    STD,
    VOCABULARY,
    change_config,
    change_weights,
    without,
    write_folder,
)
from tests.helpers.models.tiny_teachers import pictures
from tests.helpers.models.tiny_tokenizers import CAPTIONS


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(teacher_tokenizer, "TOKENIZER_CACHE", tmp_path / "tokenizers")


KINDS = pytest.mark.parametrize("kind", ["open_clip", "chinese_clip", "clip"])


@KINDS
@pytest.mark.parametrize(("half", "prefix"), [(False, False), (True, True)], ids=["plain", "half-prefixed"])
def test_the_teacher_says_what_the_checkpoint_says(kind: str, half: bool, prefix: bool, tmp_path: Path) -> None:
    original = write_folder(tmp_path / "theirs", kind, half, f"{kind}." if prefix else "")
    report = convert(tmp_path / "theirs", tmp_path / "ours")
    teacher: Any = load_teacher("ours")
    assert (report.embed_dim, report.model_type) == (DIM, kind)
    texts = [*CAPTIONS[:4], "日本の猫"]
    ids = [teacher.tokenizer(text)["input_ids"] for text in texts]
    assert max(map(len, ids)) <= CONTEXT
    wanted = torch.cat([original.embed_ids(each) for each in ids])
    assert torch.allclose(teacher.embed_texts(texts), wanted, atol=2e-5)
    assert (wanted @ wanted.T).triu(1).max() < 0.99  # the texts can be told apart
    pixels = torch.stack([prepared(picture) for picture in pictures()])
    assert torch.allclose(teacher.embed_pictures(pictures()), original.embed_pictures(pixels), atol=2e-5)


def prepared(picture: Any) -> Tensor:
    """Shorter side to the size (bicubic), the middle of it, CLIP's mean and deviation."""
    width, height = picture.size
    scale = SIDE / min(width, height)
    picture = picture.resize((int(width * scale), int(height * scale)), 3)
    left, top = (picture.width - SIDE) // 2, (picture.height - SIDE) // 2
    square = np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)), dtype=np.float64) / 255
    return torch.from_numpy(((square - MEAN) / STD).transpose(2, 0, 1)).float()


def test_ids_of_openai_s_vocabulary_are_openai_s(tmp_path: Path) -> None:
    write_folder(tmp_path / "theirs", "open_clip")
    convert(tmp_path / "theirs", tmp_path / "ours")
    tokenizer = load_teacher("ours").tokenizer
    start, end = VOCABULARY["open_clip"] - 2, VOCABULARY["open_clip"] - 1
    # CLIP numbers the visible characters first, then the same at a word's end: 'a</w>' is 320 and '!</w>' is 256
    assert tokenizer("A !")["input_ids"] == [start, 320, 256, end]


def test_bert_s_pooler_is_said_to_be_unused(tmp_path: Path) -> None:
    write_folder(tmp_path / "theirs", "chinese_clip")
    report = convert(tmp_path / "theirs", tmp_path / "ours")
    assert report.unused == ("bert.pooler.dense.bias", "bert.pooler.dense.weight")
    assert {path.suffix for path in Path("ours").iterdir()} == {".json", ".safetensors", ".txt"}


def test_biases_of_projections_are_kept_by_a_teacher_that_is_written_again(tmp_path: Path) -> None:
    write_folder(tmp_path / "theirs", "clip")
    convert(tmp_path / "theirs", tmp_path / "ours")
    teacher: Any = load_teacher("ours")
    shutil.copytree("ours", "again")
    teacher.model.save_pretrained("again")
    again = load_teacher("again")
    assert teacher.model.text_projection.bias.abs().min() > 0
    assert torch.equal(again.embed_texts(["a cat"]), teacher.embed_texts(["a cat"]))
    assert torch.equal(again.embed_pictures(pictures()), teacher.embed_pictures(pictures()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("vision_projection.bias"), "lacks vision_projection.bias, which config.json asks for"),
        (without("text_projection.weight"), "lacks text_projection.weight, which config.json asks for"),
        (lambda s: s | {"vision_projection.weight": torch.ones(3, 48)}, "asks for floats [24, 48]"),
        (lambda s: s | {"text_model.extra": torch.ones(3)}, "has text_model.extra, which config.json does not ask for"),
    ],
)
def test_wrong_weights_of_kind_clip_are_named(change: Any, message: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "theirs", "clip")
    change_weights(tmp_path / "theirs", change)
    assert message in refusal(Path("theirs"))


def test_a_checkpoint_of_kind_clip_may_lack_the_scale_and_hold_positions(tmp_path: Path) -> None:
    write_folder(tmp_path / "theirs", "clip")
    positions = {"text_encoder.embeddings.position_ids": torch.arange(CONTEXT + 1)[None]}
    change_weights(tmp_path / "theirs", lambda state: without("logit_scale")(state) | positions)
    assert convert(tmp_path / "theirs", tmp_path / "ours").unused == tuple(positions)


@KINDS
def test_the_checkpoint_itself_is_no_teacher_and_says_how_to_make_one(kind: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "theirs", kind)
    with pytest.raises(UserError, match="Convert it once: conaclip-edge convert theirs --out teacher"):
        load_teacher("theirs")


@KINDS
def test_a_student_starts_from_a_converted_teacher(kind: str, tmp_path: Path, run: Run) -> None:
    write_folder(tmp_path / "theirs", kind)
    code, out, err = run("convert", "theirs", "--out", "ours", "--json")
    assert code == 0, err
    assert json.loads(out)["teacher"] == "ours"
    teacher: Teacher = load_teacher("ours")
    assert len(teacher.token_table()) == VOCABULARY[kind]
    assert bool(teacher.text_layers()) == (kind == "open_clip")


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json in theirs. A checkpoint of EasyNLP's CLIP"),
    "no weights": (lambda f: (f / "pytorch_model.bin").unlink(), "no pytorch_model.bin in theirs"),
    "no vocabulary": (lambda f: (f / "vocab.txt").unlink(), "no vocab.txt in theirs"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "cannot read checkpoint config"),
    "list": (
        lambda f: (f / "config.json").write_text("[]"),
        "unknown model_type 'None'. Known: open_clip, chinese_clip",
    ),
    "other kind": (lambda f: change_config(f, model_type="bert"), "unknown model_type 'bert'. Known: open_clip"),
    "unknown key": (lambda f: change_config(f, vision_widht=3), "Did you mean 'vision_width'?"),
    "no number": (lambda f: change_config(f, embed_dim="x"), "'embed_dim': "),
    "ResNet": (lambda f: change_config(f, vision_layers=[3, 4, 6, 3]), "its image tower is a ResNet, which"),
    "odd width": (lambda f: change_config(f, vision_width=100), "vision_width 100 is no multiple of 64"),
    "heads": (lambda f: change_config(f, transformer_heads=5), "width 48 is no multiple of its 5 attention heads"),
    "missing": (
        lambda f: change_weights(f, without("visual.proj")),
        "pytorch_model.bin lacks visual.proj, which config.json asks for",
    ),
    "many missing": (
        lambda f: change_config(f, transformer_layers=3),
        "lacks transformer.resblocks.2.attn.in_proj_bias, transformer.resblocks.2.attn.in_proj_weight, "
        "transformer.resblocks.2.attn.out_proj.bias and 9 more tensors",
    ),
    "unexpected": (
        lambda f: change_weights(f, lambda state: state | {"visual.extra": torch.ones(2)}),
        "has visual.extra, which config.json does not ask for",
    ),
    "wrong shape": (
        lambda f: change_config(f, embed_dim=12),
        "visual.proj is torch.float32 [128, 24], config.json asks for floats [128, 12]",
    ),
    "wrong joint shape": (
        lambda f: change_weights(f, lambda s: s | {"transformer.resblocks.0.attn.in_proj_bias": torch.ones(143)}),
        "in_proj_bias is torch.float32 [143], config.json asks for floats [144]",
    ),
    "whole numbers": (
        lambda f: change_weights(f, lambda s: s | {"ln_final.bias": torch.ones(48, dtype=torch.int64)}),
        "ln_final.bias is torch.int64 [48], config.json asks for floats",
    ),
    "not finite": (
        lambda f: change_weights(f, lambda s: s | {"ln_final.bias": torch.full((48,), torch.nan)}),
        "ln_final.bias holds values that are no finite numbers",
    ),
    "nested": (lambda f: change_weights(f, lambda s: {"model": s}), "must hold tensors by name"),
    "truncated": (
        lambda f: (f / "pytorch_model.bin").write_bytes((f / "pytorch_model.bin").read_bytes()[:3000]),
        "it holds more than tensors, or is damaged",
    ),
    "plain vocabulary": (
        lambda f: (f / "vocab.txt").write_text("a b\n"),
        "cannot read theirs/vocab.txt: Not a gz",
    ),
    "cut vocabulary": (
        lambda f: (f / "vocab.txt").write_bytes((f / "vocab.txt").read_bytes()[:900]),
        "cannot read theirs/vocab.txt: Compressed file ended",
    ),
    "few merges": (
        lambda f: (f / "vocab.txt").write_bytes(gzip.compress(b"first\na b\n")),
        "vocab.txt has no 600 merges of two pieces each, which vocab_size 1114 needs",
    ),
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("easynlp") / "theirs"
    write_folder(folder, "open_clip")
    return folder


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_ends_in_one_line(wrong: str, theirs: Path, tmp_path: Path) -> None:
    shutil.copytree(theirs, tmp_path / "theirs")
    change, message = WRONG[wrong]
    change(tmp_path / "theirs")
    assert message in refusal(Path("theirs"))


def refusal(folder: Path, out: Path = Path("ours")) -> str:
    with pytest.raises(UserError) as caught:
        convert(folder, out)
    assert not Path("ours").exists()
    assert not list(Path.cwd().glob(".*tmp"))
    text = str(caught.value)
    assert len(text) < 500
    return text


def test_more_tokens_than_rows_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "theirs", "chinese_clip")
    with open("theirs/vocab.txt", "a", encoding="utf-8") as file:
        file.write("extra\n")
    assert "theirs/vocab.txt has 401 tokens, config.json says vocab_size 400" in refusal(Path("theirs"))


def test_the_checkpoint_s_own_folder_is_not_replaced(theirs: Path, tmp_path: Path) -> None:
    shutil.copytree(theirs, tmp_path / "theirs")
    assert "is the checkpoint's own folder" in refusal(Path("theirs"), tmp_path / "theirs")
    assert Path("theirs/pytorch_model.bin").is_file()


class Runs:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
def test_a_hostile_pickle_is_refused_and_not_run(form: str, theirs: Path, tmp_path: Path) -> None:
    shutil.copytree(theirs, tmp_path / "theirs")
    path = tmp_path / "theirs" / "pytorch_model.bin"
    content = torch.load(path, weights_only=True) | {"visual.proj": Runs()}
    if form == "pickle":
        path.write_bytes(pickle.dumps({"visual.proj": Runs()}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    message = refusal(Path("theirs"))
    assert message.startswith("cannot read theirs/pytorch_model.bin: it holds more than tensors, or is damaged (")
    assert "nsupported" in message
    assert "weights_only" not in message  # torch advises to turn the care off
    assert message.endswith("Nothing in it was run. Save the model's state_dict() alone.")
    assert not Path("executed").exists()
