"""transformers and sentence-transformers: a CLIPModel folder of a student's float weights, tokenizer and processor.

A student whose image tower is a vision transformer has CLIPModel's weights under its names; what is added here are the
files by which `CLIPModel`, `CLIPProcessor` and `SentenceTransformer` (6.2) find tokenizer and processor.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPModel, CLIPProcessor

from conaclip_edge.bundle.embeddings import cosines, summary
from conaclip_edge.bundle.golden import TEXTS
from conaclip_edge.bundle.golden_pictures import made_pictures
from conaclip_edge.bundle.write import embedding_space
from conaclip_edge.data.preprocess import Preprocess, decode, to_pixels
from conaclip_edge.errors import GateFailed, UserError
from conaclip_edge.layouts.client import as_seen
from conaclip_edge.layouts.report import PicturesKept, TextsKept
from conaclip_edge.models.student.checkpoint import Student, load_student
from conaclip_edge.models.tokenizer import whole_text
from conaclip_edge.system.files import write_json

_FILES = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json")
_LEAST = 0.9999  # cosine: the same float weights, and the same pixels but for the rounding of sides


def write(student: Path, folder: Path) -> tuple[TextsKept, PicturesKept, str]:
    """Write the folder and compare what transformers makes of it with the student.

    Args:
        student: folder of the checkpoint.
        folder: an empty one.

    Returns:
        What was found of texts and of pictures, and the student's embedding space.

    Raises:
        UserError: the student is no CLIPModel.
        GateFailed: transformers gives other embeddings than the student.
    """
    loaded = load_student(student)
    shape = loaded.model.config
    if shape.image.kind != "vit" or shape.text.kind != "clip" or "adopted" in loaded.training:
        raise UserError(
            f"student {student} is no CLIPModel: that needs an image tower of kind vit (preset vit-s16-text4l), "
            f"trained here, this one is {shape.image.kind}. Lay its bundle out as transformers-js (ONNX)."
        )
    for name in _FILES:
        shutil.copy(student / name, folder / name)
    ends = {"pad_token": shape.text.pad_id, "eos_token": shape.text.eos_id}
    named = {key: loaded.tokenizer.tokenizer.id_to_token(number) for key, number in ends.items()}
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": shape.text.context}
    write_json(folder / "tokenizer_config.json", tokenizer | named)
    return _texts(loaded, folder), _pictures(loaded, folder), embedding_space(loaded)


def _texts(student: Student, folder: Path) -> TextsKept:
    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    found, own, different = [], [], []
    with torch.inference_mode():
        for text in TEXTS:
            given = processor.tokenizer([whole_text(text)], truncation=True, return_tensors="pt")
            ids = student.tokenizer.ids(text)
            if as_seen(given["input_ids"][0].numpy(), student.tokenizer.eos_id) != as_seen(
                np.asarray(ids), student.tokenizer.eos_id
            ):
                different.append(text[:40])
            found.append(_tensor(model.get_text_features(input_ids=given["input_ids"])))
            own.append(student.model.encode_text(torch.tensor([ids]))[0].numpy())
    kept = summary(cosines(np.stack(found), np.stack(own)))
    if kept.min < _LEAST:
        raise GateFailed(f"least cosine {kept.min:.5f} of transformers' embeddings of texts is below {_LEAST}.")
    return TextsKept(texts=len(TEXTS), ids_equal=len(TEXTS) - len(different), different=tuple(different), cosine=kept)


def _pictures(student: Student, folder: Path) -> PicturesKept:
    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    preprocess = Preprocess.of(student.model.config.image)
    found, own = [], []
    with torch.inference_mode():
        for _, data in made_pictures():
            picture = decode(data)
            given = processor.image_processor(images=picture, return_tensors="pt")["pixel_values"]
            found.append(_tensor(model.get_image_features(pixel_values=given)))
            pixels = torch.from_numpy(to_pixels(picture, preprocess)[None].astype(np.float32) / 255)
            own.append(student.model.encode_image(pixels)[0].numpy())
    return PicturesKept(
        pictures=len(own),
        captions=0,
        split="golden pictures",
        cosine=summary(cosines(np.stack(found), np.stack(own))),
        bundle_mean_recall=None,
        recall=None,
    )


def _tensor(features: object) -> np.ndarray:
    """Return the one embedding of a batch; transformers 5 wraps it."""
    tensor = getattr(features, "pooler_output", features)
    assert isinstance(tensor, torch.Tensor)
    row: np.ndarray = tensor[0].numpy()
    return row
