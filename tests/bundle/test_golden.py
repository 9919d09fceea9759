"""Golden vectors cover what ports get wrong, are what the student gives, and can be read without this package."""

from __future__ import annotations

import io
import json
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch.nn import functional as F

from conaclip_edge.bundle.golden import MIN_COSINE, TEXTS, make_golden, read_golden, write_golden
from conaclip_edge.bundle.golden_pictures import made_pictures
from conaclip_edge.data.preprocess import pixel_values
from conaclip_edge.errors import UserError
from conaclip_edge.models.quantization.mobile import Int8MobileTower
from conaclip_edge.models.student.checkpoint import load_student
from tests.helpers.bar_pictures import CONTEXT, EOS
from tests.helpers.small_students import int8_student

REAL = ("held-out-0.png", made_pictures()[0][1]), ("held-out-1.png", made_pictures()[5][1])


@pytest.fixture(scope="module")
def student(bars):
    return load_student(bars / "student")


@pytest.fixture(scope="module")
def golden(student):
    return make_golden(student, REAL, 10_000_000)


@pytest.fixture
def folder(golden, tmp_path):
    write_golden(golden, tmp_path / "golden")
    return tmp_path / "golden"


def test_texts_cover_what_tokenizer_ports_get_wrong():
    assert len(TEXTS) == len(set(TEXTS)) >= 24
    kinds = {
        "empty": lambda text: text == "",
        "upper case": str.isupper,
        "very long": lambda text: len(text) > 800,
        "punctuation": lambda text: sum(not c.isalnum() and not c.isspace() for c in text) > 15,
        "emoji beyond 16 bits": lambda text: any(ord(c) > 0x1F300 for c in text),
        "joined emoji": lambda text: "\u200d" in text,
        "combining marks": lambda text: "\u0301" in text,
        "Han": lambda text: any("\u4e00" <= c <= "\u9fff" for c in text),
        "Cyrillic": lambda text: any("\u0400" <= c <= "\u04ff" for c in text),
        "Arabic": lambda text: any("\u0600" <= c <= "\u06ff" for c in text),
        "Devanagari": lambda text: any("\u0900" <= c <= "\u097f" for c in text),
        "CLIP's end": lambda text: "<|endoftext|>" in text,
        "BERT's end": lambda text: "[SEP]" in text,
        "T5's end": lambda text: "</s>" in text,
        "white space": lambda text: text != text.strip() or "  " in text,
    }
    for kind, is_of in kinds.items():
        assert any(is_of(text) for text in TEXTS), kind


def test_made_pictures_cover_what_decoders_and_scalers_get_wrong():
    opened = {name: Image.open(io.BytesIO(data)) for name, data in made_pictures()}
    assert {picture.format for picture in opened.values()} == {"PNG", "JPEG"}
    assert {picture.mode for picture in opened.values()} == {"RGB", "RGBA", "L"}
    assert any(picture.getexif().get(0x0112, 1) != 1 for picture in opened.values())
    assert any(picture.width > picture.height for picture in opened.values())
    assert any(picture.width < picture.height for picture in opened.values())
    assert any(max(picture.size) < 32 for picture in opened.values()), "none has to be enlarged"
    assert made_pictures() == made_pictures()


@pytest.mark.parametrize("fault", ["squashed", "nearest", "top left", "no orientation", "black behind", "no antialias"])
def test_made_pictures_show_each_fault_of_a_port(fault):
    """Each wrong way to prepare a picture changes some made picture by more than a level."""
    size = 24
    changed = 0.0
    for _, data in made_pictures():
        right = pixel_values(data, size) * 255
        picture = Image.open(io.BytesIO(data))
        if fault != "no orientation" and picture.getexif().get(0x0112) == 6:
            picture = picture.transpose(Image.Transpose.ROTATE_270)
        ground = Image.new("RGBA", picture.size, "black" if fault == "black behind" else "white")
        picture = Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
        scale = size / min(picture.size)
        wide, high = (round(side * scale) for side in picture.size)
        if fault == "squashed":
            wide = high = size
        filters = {"nearest": Image.Resampling.NEAREST}
        if fault == "no antialias":
            x = np.clip(((np.arange(wide) + 0.5) / scale).astype(int), 0, picture.width - 1)
            y = np.clip(((np.arange(high) + 0.5) / scale).astype(int), 0, picture.height - 1)
            picture = Image.fromarray(np.asarray(picture)[y][:, x])
        picture = picture.resize((wide, high), filters.get(fault, Image.Resampling.BICUBIC))
        left, top = (0, 0) if fault == "top left" else ((wide - size) // 2, (high - size) // 2)
        wrong = np.asarray(picture.crop((left, top, left + size, top + size)), np.float32).transpose(2, 0, 1)
        changed = max(changed, float(np.abs(wrong - right).max()))
    assert changed > 20


def test_ids_are_the_tokenizers_own_cut_to_the_context_with_an_end(golden, bars):
    tokenizer = Tokenizer.from_file(str(bars / "student/tokenizer.json"))
    for text, ids in zip(golden.texts, golden.ids, strict=True):
        whole = tokenizer.encode(text).ids
        assert ids.tolist() == (whole if len(whole) <= CONTEXT else [*whole[: CONTEXT - 1], EOS]), text
        assert ids.dtype == np.int32
    assert max(len(ids) for ids in golden.ids) == CONTEXT
    assert any((ids == EOS).sum() > 1 for ids in golden.ids), "no text has several ends"


def test_embeddings_are_the_float_students(golden, student):
    with torch.inference_mode():
        texts = [student.model.encode_text(torch.from_numpy(ids)[None])[0] for ids in golden.ids]
        pixels = [torch.from_numpy(pixel_values(data, 32)) for data in golden.pictures]
        pictures = student.model.encode_image(torch.stack(pixels))
    torch.testing.assert_close(torch.from_numpy(golden.text_embeddings), torch.stack(texts))
    torch.testing.assert_close(torch.from_numpy(golden.picture_embeddings), pictures, atol=1e-5, rtol=0)
    assert len(golden.pictures) == len(golden.pixels) == len(made_pictures()) + len(REAL) >= 8


def test_what_is_written_is_read_back(golden, folder):
    again = read_golden(folder)
    for name in ("texts", "names", "pictures", "min_cosine", "picture_min_cosine"):
        assert getattr(again, name) == getattr(golden, name)
    for name in ("text_embeddings", "picture_embeddings", "pixels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(golden, name))
    assert all((a == b).all() for a, b in zip(again.ids, golden.ids, strict=True))


def test_a_port_can_read_them_with_json_and_a_few_bytes_of_header(golden, folder):
    content = json.loads((folder / "golden.json").read_text("utf-8"))
    assert [entry["text"] for entry in content["texts"]] == list(TEXTS)
    assert all((folder / name).is_file() for name in content["pictures"])
    assert content["pixel_tolerance"] == pytest.approx(1 / 255)
    for bars in ("min_cosine", "picture_min_cosine"):
        assert set(content[bars]) == {"int8", "fp16", "fp32"}
    data = (folder / "golden.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    entry = header["text.embedding"]
    start, end = (8 + length + offset for offset in entry["data_offsets"])
    assert entry["dtype"] == "F32"
    values = np.frombuffer(data[start:end], "<f4").reshape(entry["shape"])
    np.testing.assert_array_equal(values, golden.text_embeddings)


def test_a_bundle_with_one_bar_for_both_towers_has_it_for_each(golden, folder):
    """As bundles were written before a student on grids had bars of its own for pictures."""
    content = json.loads((folder / "golden.json").read_text("utf-8"))
    content.pop("picture_min_cosine")
    (folder / "golden.json").write_text(json.dumps(content))
    again = read_golden(folder)
    assert again.picture_min_cosine == again.min_cosine == golden.min_cosine


def test_a_picture_outside_the_folder_is_not_opened(folder):
    content = json.loads((folder / "golden.json").read_text("utf-8"))
    content["pictures"][0] = "pictures/../../secret.png"
    (folder / "golden.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"picture 'pictures/../../secret.png' leaves the bundle's folder; it was not"):
        read_golden(folder)


def test_json_and_tensors_that_do_not_fit_are_refused(folder):
    content = json.loads((folder / "golden.json").read_text("utf-8"))
    content["texts"].pop()
    (folder / "golden.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"golden\.json does not fit golden\.safetensors"):
        read_golden(folder)


def test_broken_tensors_are_named_in_one_line(folder):
    (folder / "golden.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(UserError, match="cannot read the golden vectors"):
        read_golden(folder)


def on_grids():
    """A student on grids, and its golden vectors."""
    model, grids = int8_student()
    tokenizer = SimpleNamespace(ids=lambda text: [1, EOS])
    student = SimpleNamespace(model=model, tokenizer=tokenizer, quantization=grids)
    return student, make_golden(student, REAL, 10**9)


def test_a_student_on_grids_gives_its_golden_pictures_as_it_was_trained():
    student, golden = on_grids()
    model, grids = student.model, student.quantization
    pixels = torch.from_numpy(golden.pixels).float() / 255
    tower = Int8MobileTower(model.image)
    tower.grids = grids.image
    with torch.inference_mode():
        trained, in_float = F.normalize(tower(pixels), dim=-1), model.encode_image(pixels)
    torch.testing.assert_close(torch.from_numpy(golden.picture_embeddings), trained)
    # files that compute with the float weights pass, too
    assert max(golden.picture_min_cosine.values()) < float((in_float * trained).sum(dim=1).min())


def test_the_texts_of_a_student_on_grids_have_the_bars_of_any_student():
    assert on_grids()[1].min_cosine == MIN_COSINE
