"""Every kind of model, opened as an encoder, gives the embeddings that the model itself gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoTokenizer, CLIPConfig, CLIPModel

from conaclip_edge.data.preprocess import Preprocess, to_pixels
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.evaluation.encoders import bundle_encoder, files_encoder, open_encoder
from conaclip_edge.evaluation.torch_encoders import clip_b32_encoder, embed_ids, embed_pixels
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.models.teacher.joined import JoinedConfig, JoinedTeacher
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.models.tokenizer import TextTokenizer
from tests.helpers import tiny
from tests.helpers.models.openclip_plain import PLAIN_FOLDER
from tests.helpers.search.small_index import SIZE, write_bundle

TEXTS = ["red", "a green disc on the left", "blue"]


def noise() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (90, width, 3), dtype=np.uint8)) for width in (70, 90, 140)]


def pixels_of(size: int) -> torch.Tensor:
    """The noise, resized, in [0, 1]."""
    return torch.from_numpy(np.stack([to_pixels(picture, size) for picture in noise()])).float() / 255


@pytest.fixture(scope="module")
def joined_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher joined of two towers with random weights."""
    folder = tmp_path_factory.mktemp("joined")
    ids = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "red": 4, "blue": 5}
    layers = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    bert = layers | {"vocab_size": len(ids)}
    (folder / "text.json").write_text(json.dumps(bert), "utf-8")
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    JoinedTeacher(JoinedConfig(name="joined", embed_dim=32, hidden=16, temperature=0.05), folder).save(folder, bert, {})
    return folder


@torch.no_grad()
def test_a_joined_teacher(joined_teacher: Path) -> None:
    encoder, teacher = open_encoder(joined_teacher), JoinedTeacher.load(joined_teacher)
    features = F.normalize(teacher.image((pixels_of(224) - 127 / 255) / (128 / 255)), dim=-1)
    np.testing.assert_allclose(encoder.embed_images(noise()), teacher.image_head(features), atol=1e-6)
    ids = torch.from_numpy(teacher.tokenizer(TEXTS)).long()
    words = F.normalize(teacher.text(ids, (ids != 0).long()), dim=-1)
    np.testing.assert_allclose(encoder.embed_texts(TEXTS), words, atol=1e-6)
    assert np.array_equal(encoder.embed_images(noise()), teacher.embed_pictures(noise()))
    assert np.array_equal(encoder.embed_texts(TEXTS), teacher.embed_texts(TEXTS))
    assert (encoder.name, encoder.executed) == ("joined (joined teacher)", "torch")
    assert teacher.temperature == 0.05


@torch.no_grad()
def test_a_transformers_teacher(world: Path) -> None:
    encoder, folder = open_encoder(world / "teacher"), str(world / "teacher")
    model = CLIPModel.from_pretrained(folder)
    given = AutoImageProcessor.from_pretrained(folder, backend="pil")(images=noise(), return_tensors="pt")
    pictures = F.normalize(model.get_image_features(**given).pooler_output, dim=-1)
    np.testing.assert_allclose(encoder.embed_images(noise()), pictures, atol=1e-6)
    words = AutoTokenizer.from_pretrained(folder)(TEXTS, return_tensors="pt", padding=True, truncation=True)
    texts = F.normalize(model.get_text_features(**words).pooler_output, dim=-1)
    np.testing.assert_allclose(encoder.embed_texts(TEXTS), texts, atol=1e-6)
    assert (encoder.name, encoder.executed) == ("teacher (clip)", "torch")


def test_a_teacher_of_openclip() -> None:
    encoder, teacher = open_encoder(PLAIN_FOLDER / "vit"), load_teacher(str(PLAIN_FOLDER / "vit"))
    assert np.array_equal(encoder.embed_images(noise()), teacher.embed_pictures(noise()))
    assert encoder.executed == "torch"


@torch.no_grad()
def test_a_checkpoint(bars: Path) -> None:
    encoder, student = open_encoder(bars / "student"), load_student(bars / "student")
    pictures = student.model.encode_image(pixels_of(student.model.config.image.size))
    assert np.array_equal(encoder.embed_images(noise()), pictures)
    texts = student.model.encode_text(torch.from_numpy(student.tokenizer(TEXTS)))
    assert np.array_equal(encoder.embed_texts(TEXTS), texts)
    assert (encoder.name, encoder.executed) == ("student student", "torch")


def session(file: Path, values: np.ndarray) -> Any:
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(
        None, {"pixel_values" if values.ndim == 4 else "input_ids": values}
    )[0]


def test_a_bundle(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    encoder, tokenizer = open_encoder(bundle), TextTokenizer(bundle / "tokenizer.json", 12)
    pictures = session(bundle / "onnx/image.int8.onnx", pixels_of(SIZE).numpy())
    np.testing.assert_allclose(encoder.embed_images(noise()), pictures, atol=1e-6)
    texts = [session(bundle / "onnx/text.int8.onnx", tokenizer([text])) for text in TEXTS]
    assert np.array_equal(encoder.embed_texts(TEXTS), np.concatenate(texts))
    assert (encoder.name, encoder.executed) == ("bundle bundle (onnx)", "native")


@torch.no_grad()
def test_the_shape_of_clip(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    encoder = clip_b32_encoder(bundle / "tokenizer.json", 12)
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig()).eval()
    wanted = model.get_image_features(pixel_values=pixels_of(224) * 2 - 1).pooler_output
    np.testing.assert_allclose(encoder.embed_images(noise()), wanted, atol=1e-5)
    ids = torch.tensor([[3, model.config.text_config.eos_token_id]])
    np.testing.assert_allclose(encoder.embed_texts(["red"]), model.get_text_features(ids).pooler_output, atol=1e-5)
    assert encoder.tokens(["red"], True).shape == (1, 77)


class Lengths:
    """A text tower that takes texts of two lengths alone, and notes what it gets."""

    executed, lengths = "reference", (4, 9)

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def __call__(self, values: np.ndarray) -> np.ndarray:
        self.seen += values.tolist()
        return np.ones((len(values), 2), np.float32)


def test_each_text_goes_into_a_file_alone_at_the_shortest_length_that_it_takes(tmp_path: Path) -> None:
    tokenizer = TextTokenizer(write_bundle(tmp_path / "bundle") / "tokenizer.json", 9)
    tower = Lengths()
    encoder = files_encoder("of two lengths", None, tower, tokenizer, Preprocess(SIZE))
    assert encoder.embed_texts(["red", "red red green", "red red red red"]).shape == (3, 2)
    assert tower.seen == [[3, 2, 0, 0], [3, 3, 4, 2], [3, 3, 3, 3, 2, 0, 0, 0, 0]]
    assert (encoder.executed, encoder.image) == ("reference", None)
    padded = files_encoder("padded", None, tower, tokenizer, Preprocess(SIZE), padded=True)
    assert padded.tokens(["red"], False).tolist() == [[3, 2, 0, 0, 0, 0, 0, 0, 0]]


def spy(calls: list[int]) -> Encoder:
    def tower(values: list[Any]) -> np.ndarray:
        calls.append(len(values))
        return np.asarray([[len(str(value))] for value in values], np.float32)

    identity: Callable[..., Any] = lambda values, full=False: values  # noqa: E731
    return Encoder("spy", "torch", identity, identity, tower, tower, pictures_per_call=2, texts_per_call=3)


def test_no_more_go_in_per_call_than_the_encoder_takes_and_their_order_stays() -> None:
    calls: list[int] = []
    texts = ["a", "bb", "ccc", "dddd", "a"]
    assert spy(calls).embed_texts(texts)[:, 0].tolist() == [1, 2, 3, 4, 1]
    assert calls == [3, 2]
    calls.clear()
    assert len(spy(calls).embed_images(iter(noise()))) == 3
    assert calls == [2, 1]
    assert spy(calls).embed_texts([]).shape == (0, 0)


@pytest.mark.parametrize("training", [True, False])
def test_prepared_pixels_and_ids_give_the_same_embeddings_and_leave_the_model_s_mode(
    bars: Path, training: bool
) -> None:
    student = load_student(bars / "student")
    encoder, model = open_encoder(bars / "student"), student.model.train(training)
    pixels = np.stack([to_pixels(picture, model.config.image.size) for picture in noise()])
    found = embed_pixels(model, [pixels[:1], pixels[1:]])
    np.testing.assert_allclose(found, encoder.embed_images(noise()), atol=1e-6)
    ids = student.tokenizer(TEXTS)
    np.testing.assert_allclose(embed_ids(model, [ids[:2], ids[2:]]), encoder.embed_texts(TEXTS), atol=1e-6)
    assert model.training is training


def test_a_bundle_is_evaluated_without_torch(tmp_path: Path) -> None:
    bundle, data = write_bundle(tmp_path / "bundle"), tiny.image_folder(tmp_path / "data")
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'accelerate'): sys.modules[name] = None\n"
        "from conaclip_edge.cli.main import main\n"
        f"sys.argv = ['conaclip-edge', 'evaluate', {str(bundle)!r}, '--data', {str(data)!r}, '--json']\n"
        "main()\n"
    )
    environment = os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["dataset"]["pictures"]) == ("bundle bundle (onnx)", 9)
    assert bundle_encoder(bundle, "onnx").name == found["model"]
