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
import transformers
from command_line import Run
from tiny_teachers import pictures
from tiny_tokenizers import CAPTIONS, clip_json, write_bert_vocab
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.errors import UserError
from conaclip_edge.models import teacher_tokenizer
from conaclip_edge.models.easynlp_convert import convert
from conaclip_edge.models.teacher import Teacher, load_teacher

WIDTH, SIDE, PATCH, DIM, CONTEXT, MERGES = 128, 32, 8, 24, 32, 600
VOCABULARY = {"open_clip": 512 + MERGES + 2, "chinese_clip": 400, "clip": 400}
FLAT = {
    "embed_dim": DIM,
    "image_resolution": SIDE,
    "vision_layers": 2,
    "vision_width": WIDTH,
    "vision_patch_size": PATCH,
}
TEXT = {
    "open_clip": {
        "context_length": CONTEXT,
        "transformer_width": 48,
        "transformer_heads": 3,
        "transformer_layers": 2,
    },
    "chinese_clip": {
        "text_attention_probs_dropout_prob": 0.1,
        "text_hidden_act": "gelu",
        "text_hidden_dropout_prob": 0.1,
        "text_hidden_size": 32,
        "text_initializer_range": 0.02,
        "text_intermediate_size": 40,
        "text_max_position_embeddings": CONTEXT,
        "text_num_attention_heads": 4,
        "text_num_hidden_layers": 2,
        "text_type_vocab_size": 2,
    },
}
ROBERTA = {
    "vocab_size": VOCABULARY["clip"],
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT + 1,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
VIT = {
    "hidden_size": 48,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": SIDE,
    "patch_size": PATCH,
}
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


class Layer(nn.Module):
    """A transformer layer of OpenAI's CLIP by torch's own attention, which has its names and its joint q, k and v."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        normal = self.ln_1(x)
        x = x + self.attn(normal, normal, normal, need_weights=False, attn_mask=mask)[0]
        inner = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](inner * torch.sigmoid(1.702 * inner))


def layers(width: int, heads: int) -> nn.ModuleDict:
    return nn.ModuleDict({"resblocks": nn.ModuleList([Layer(width, heads) for _ in range(2)])})


def randomize(model: nn.Module) -> None:
    """Draw all weights, norms' too so that none is the identity, large enough to tell texts apart."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(float(parameter.ndim == 1 and name.endswith("weight")), 0.4)
    model.eval()


class Original(nn.Module):
    """What a checkpoint with a flat config computes, written for this test: its state_dict has EasyNLP's layout."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.visual = nn.Module()
        self.visual.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.visual.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.visual.positional_embedding = nn.Parameter(torch.randn((SIDE // PATCH) ** 2 + 1, WIDTH))
        self.visual.ln_pre, self.visual.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.visual.transformer = layers(WIDTH, WIDTH // 64)
        self.visual.proj = nn.Parameter(torch.randn(WIDTH, DIM))
        if kind == "open_clip":
            self.token_embedding = nn.Embedding(VOCABULARY[kind], 48)
            self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, 48))
            self.transformer = layers(48, 3)
            self.ln_final = nn.LayerNorm(48)
            self.text_projection = nn.Parameter(torch.randn(48, DIM))
        else:
            own = {key.removeprefix("text_"): value for key, value in TEXT[kind].items()}
            self.bert = transformers.BertModel(transformers.BertConfig(vocab_size=VOCABULARY[kind], **own))
            self.text_projection = nn.Parameter(torch.randn(32, DIM))
        self.logit_scale = nn.Parameter(torch.tensor(2.5))
        randomize(self)

    @torch.no_grad()
    def embed_pictures(self, pixels: Tensor) -> Tensor:
        x = self.visual.conv1(pixels).flatten(2).mT
        x = torch.cat([self.visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.visual.positional_embedding
        x = self.visual.ln_pre(x)
        for layer in self.visual.transformer["resblocks"]:
            x = layer(x)
        return F.normalize(self.visual.ln_post(x[:, 0]) @ self.visual.proj, dim=-1)

    @torch.no_grad()
    def embed_ids(self, ids: list[int]) -> Tensor:
        """Embed one text, padded with 0 to the context as EasyNLP does."""
        padded = torch.tensor([ids + [0] * (CONTEXT - len(ids))])
        if self.kind == "chinese_clip":
            hidden = self.bert(padded, attention_mask=padded.ne(0).float()).last_hidden_state
            return F.normalize(hidden[:, 0] @ self.text_projection, dim=-1)
        x = self.token_embedding(padded) + self.positional_embedding
        for layer in self.transformer["resblocks"]:
            x = layer(x, torch.full((CONTEXT, CONTEXT), -torch.inf).triu(1))
        return F.normalize(self.ln_final(x)[:, padded[0].argmax()] @ self.text_projection, dim=-1)


class OriginalRoberta(nn.Module):
    """What a checkpoint of kind `clip` computes: two models of transformers under EasyNLP's names, and projections."""

    def __init__(self) -> None:
        super().__init__()
        self.text_encoder = transformers.RobertaModel(transformers.RobertaConfig(**ROBERTA))
        self.vision_encoder = nn.Module()
        self.vision_encoder.vision_model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VIT))
        self.text_projection, self.vision_projection = nn.Linear(32, DIM), nn.Linear(48, DIM)
        self.logit_scale = nn.Parameter(torch.tensor([2.5]))
        randomize(self)

    @torch.no_grad()
    def embed_pictures(self, pixels: Tensor) -> Tensor:
        pooled = self.vision_encoder.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.vision_projection(pooled), dim=-1)

    @torch.no_grad()
    def embed_ids(self, ids: list[int]) -> Tensor:
        padded = torch.tensor([ids + [0] * (CONTEXT - len(ids))])
        pooled = self.text_encoder(padded, attention_mask=padded.ne(0).float()).pooler_output
        return F.normalize(self.text_projection(pooled), dim=-1)


def write_folder(folder: Path, kind: str, half: bool = False, prefix: str = "") -> Original | OriginalRoberta:
    """Write a checkpoint as EasyNLP does."""
    torch.manual_seed(1)
    original = OriginalRoberta() if kind == "clip" else Original(kind)
    if half:
        original.load_state_dict({name: value.half() for name, value in original.state_dict().items()})
    folder.mkdir()
    if kind == "clip":
        config: dict[str, Any] = {"text_config": ROBERTA | {"top_k": 50}, "vision_config": VIT, "projection_dim": 512}
    else:
        config = FLAT | TEXT[kind] | {"vocab_size": VOCABULARY[kind]}
    config["model_type"] = kind
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    state = {prefix + name: value.half() if half else value for name, value in original.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin")
    if kind == "open_clip":
        merges = json.loads(clip_json(MERGES))["model"]["merges"]
        lines = ["a first line", *(" ".join(merge) for merge in merges), "", ""]
        (folder / "vocab.txt").write_bytes(gzip.compress("\n".join(lines).encode()))
    else:
        write_bert_vocab(folder)
    return original


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save(change(state), folder / "pytorch_model.bin")


def without(*names: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {name: value for name, value in state.items() if name not in names}


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(teacher_tokenizer, "TOKENIZER_CACHE", tmp_path / "tokenizers")


KINDS = pytest.mark.parametrize("kind", ["open_clip", "chinese_clip", "clip"])


@KINDS
@pytest.mark.parametrize(("half", "prefix"), [(False, False), (True, True)], ids=["plain", "half-prefixed"])
def test_the_teacher_says_what_the_checkpoint_says(kind: str, half: bool, prefix: bool, tmp_path: Path) -> None:
    original = write_folder(tmp_path / "theirs", kind, half, f"{kind}." if prefix else "")
    record = convert(tmp_path / "theirs", tmp_path / "ours")
    teacher: Any = load_teacher("ours")
    assert (record["embed_dim"], record["model_type"]) == (DIM, kind)
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
    record = convert(tmp_path / "theirs", tmp_path / "ours")
    assert record["unused"] == ["bert.pooler.dense.bias", "bert.pooler.dense.weight"]
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
    assert convert(tmp_path / "theirs", tmp_path / "ours")["unused"] == list(positions)


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
