"""Android galleries that have CLIP's vocabulary built in: TIDY, SmartScan and PicQuery.

Read in their code:
TIDY (slavabarkov/tidy, eb4aed4): `utils/ImageUtil.kt` crops the centre, scales to 224 by the nearest pixel, applies
CLIP's mean and deviation; `ORTTextViewModel.kt` keeps ASCII letters and digits, gives int32 ids and a mask.
SmartScan's SDK (dev-diaries41/smartscan-sdk, 14c1388): the same crop and nearest pixel (`ImageUtils.kt`), the mean and
deviation of ImageNet (`PreProcess.kt`), int64 ids without a mask.
PicQuery (greyovo/PicQuery, 6737558): `createScaledBitmap` squashes to 224, bilinear without antialiasing, the mean and
deviation of CLIP (`PreprocessorCLIP.kt`); int32 ids, a text that is too long is refused (`BPETokenizer.kt`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto
from PIL import Image
from tokenizers import Tokenizer

from conaclip_edge.data.preprocess import Preprocess
from conaclip_edge.export.onnx.ort_format import save_ort
from conaclip_edge.layouts.client import Client
from conaclip_edge.layouts.clip_vocabulary import (
    CONTEXT,
    EOS,
    WIDTH,
    ascii_words,
    clip_ids,
    require_clip,
    write_vocabulary,
)
from conaclip_edge.layouts.graphs import Ids, image_graph, save, text_graph
from conaclip_edge.layouts.onnx_file import OnnxFile
from conaclip_edge.layouts.pictures import CLIP_MEAN, CLIP_STD, centre_then_nearest, squashed_plainly
from conaclip_edge.layouts.source import Source

_SIZE = 224
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class _App:
    """What one of these apps does otherwise than the others.

    Attributes:
        name: of it.
        image: file of the image tower.
        text: file of the text tower.
        ids: its text input.
        normalised: mean and deviation that it applies to a picture.
        resized: a picture to uint8 [3, 224, 224].
        query: what it makes of a text before it is tokenised.
        cut_eos: whether a text that is too long loses its EOS.
        pictures: in words.
        wanted: the preprocessing that comes nearest.
        notes: what else to know.
    """

    name: str
    image: str
    text: str
    ids: Ids
    normalised: tuple[tuple[float, ...], tuple[float, ...]]
    resized: Callable[[Image.Image], np.ndarray]
    query: Callable[[str], str]
    cut_eos: bool
    pictures: str
    wanted: Preprocess
    notes: tuple[str, ...]


_CROPPED = "the centre cut out, then the nearest pixel"
_ASCII = "It keeps letters, digits and spaces of ASCII alone: texts in other scripts are empty for it."
_TIDY = _App(
    "TIDY",
    "visual_quant.onnx",
    "textual_quant.onnx",
    Ids("input_ids", TensorProto.INT32, (1, CONTEXT), ("attention_mask",)),
    (CLIP_MEAN, CLIP_STD),
    lambda picture: centre_then_nearest(picture, _SIZE),
    ascii_words,
    True,
    _CROPPED,
    Preprocess(_SIZE),
    (_ASCII, "Its build.gradle names onnxruntime-android 1.14.0, which opens none of these files: 1.23 is needed."),
)
_SMARTSCAN = _App(
    "SmartScan",
    "clip_image_encoder_quant.onnx",
    "clip_text_encoder_quant.onnx",
    Ids("input_ids", TensorProto.INT64, (1, CONTEXT)),
    _IMAGENET,
    lambda picture: centre_then_nearest(picture, _SIZE),
    ascii_words,
    True,
    _CROPPED,
    Preprocess(_SIZE),
    (_ASCII,),
)
_PICQUERY = _App(
    "PicQuery",
    "clip-image-int8.ort",
    "clip-text-int8.ort",
    Ids("input_ids", TensorProto.INT32, (1, CONTEXT)),
    (CLIP_MEAN, CLIP_STD),
    lambda picture: squashed_plainly(picture, _SIZE),
    lambda text: text,
    False,
    "squashed, bilinear without antialiasing",
    Preprocess(_SIZE, "squash", "bilinear"),
    ("It refuses a text of more than 77 ids.",),
)


def write_tidy(source: Source, folder: Path) -> Client:
    """Write TIDY's two models, vocab.json and merges.txt, which lie in its res/raw."""
    return _write(_TIDY, source, folder)


def write_smartscan(source: Source, folder: Path) -> Client:
    """Write SmartScan's two models, vocab.json and merges.txt."""
    return _write(_SMARTSCAN, source, folder)


def write_picquery(source: Source, folder: Path) -> Client:
    """Write PicQuery's two models in onnxruntime's own format; it brings CLIP's vocabulary itself."""
    return _write(_PICQUERY, source, folder)


def _write(app: _App, source: Source, folder: Path) -> Client:
    require_clip(source, app.name, _SIZE)
    image, text = folder / app.image, folder / app.text
    save(
        image_graph(source.image, "pixel_values", ["image_embeds"], 1, app.normalised, WIDTH),
        image.with_suffix(".onnx"),
    )
    save(text_graph(source.text, app.ids, ["text_embeds"], EOS, WIDTH), text.with_suffix(".onnx"))
    if image.suffix == ".ort":
        models = [path.with_suffix(".onnx") for path in (image, text)]
        save_ort(dict.fromkeys(models, "ORT_DISABLE_ALL"))
        for path in models:
            path.unlink()
    else:
        write_vocabulary(source, folder)
    return _client(app, source, OnnxFile(image), OnnxFile(text))


def _client(app: _App, source: Source, pictures: OnnxFile, texts: OnnxFile) -> Client:
    tokenizer = Tokenizer.from_str(json.dumps(source.tokenizer_json() | {"truncation": None, "padding": None}))
    mean, deviation = (np.asarray(each, np.float32).reshape(3, 1, 1) for each in app.normalised)
    type_ = np.int64 if app.ids.type == TensorProto.INT64 else np.int32

    def image(pixels: np.ndarray) -> np.ndarray:
        scaled = (pixels.astype(np.float32) / 255 - mean) / deviation
        row: np.ndarray = pictures({"pixel_values": scaled[None]})[0]
        return row

    def ids(given: str) -> np.ndarray:
        return clip_ids(tokenizer, app.query(given), app.cut_eos).astype(type_)

    def text(given: str) -> np.ndarray:
        row_of_ids = ids(given)
        mask = {name: (np.cumsum(row_of_ids == EOS) <= 1).astype(type_)[None] for name in app.ids.unused}
        row: np.ndarray = texts({app.ids.name: row_of_ids[None]} | mask)[0]
        return row

    return Client(
        app.resized,
        image,
        ids,
        text,
        app.pictures,
        app.wanted,
        app.notes,
    )
