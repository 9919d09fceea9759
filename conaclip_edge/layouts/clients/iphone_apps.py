"""Apps for iPhones that have CLIP's vocabulary built in and load Core ML packages: ml-mobileclip's app and Queryable.

Read in their code:
ml-mobileclip (apple/ml-mobileclip, 4144bb1, ios_app/MobileCLIPExplore): `Models.swift` names the packages, which take
`image` and `text` and give `final_emb_1`, and their sizes, 256 and for BLT 224; `Extensions.swift` crops the centre and
scales it by an affine transform, four neighbours; `CLIPTokenizer.swift` splits by CLIP's pattern in lower case, 77 ids
filled up by 0, and ends on a text of more than 75 pieces.
Queryable (mazzzystar/Queryable, b95a05a, Queryable/CLIP): `ImgEncoder.swift` squashes to 256 by Lanczos and gives
`colorImage`; `TextEncoder.swift` gives ids as float32 to the first input and cuts those behind the 77th; its
`BPETokenizer.swift` splits at spaces alone, and every piece that it does not know is id 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from conaclip_edge.data.preprocess import Preprocess
from conaclip_edge.layouts.client import Client
from conaclip_edge.layouts.clip_vocabulary import EOS, WIDTH, clip_ids, require_clip, write_vocabulary
from conaclip_edge.layouts.mil_shell import MilShell
from conaclip_edge.layouts.pictures import centre_then_bilinear, squashed
from conaclip_edge.layouts.source import Source
from conaclip_edge.runtime.coreml_tower import open_coreml

_MOBILECLIP = {256: "s0", 224: "blt"}  # side of a picture -> the smallest model of that size in the app
_SIZE = 256


@dataclass(frozen=True)
class _App:
    """What one of these apps does otherwise than the other.

    Attributes:
        image: name of the image package; `text` of the other.
        inputs: names of their inputs.
        outputs: names of their outputs.
        float_ids: whether ids are float32.
        tokenizer: parts of tokenizer.json that it does otherwise.
        cut_eos: whether a text that is too long loses its EOS.
        resized: a picture to uint8 [3, size, size].
        pictures: in words.
        wanted: the preprocessing that comes nearest.
        notes: what else to know.
    """

    image: str
    text: str
    inputs: tuple[str, str]
    outputs: tuple[str, str]
    float_ids: bool
    tokenizer: dict[str, Any]
    cut_eos: bool
    resized: Callable[[Image.Image], np.ndarray]
    pictures: str
    wanted: Preprocess
    notes: tuple[str, ...]


def write_mobileclip(source: Source, folder: Path) -> Client:
    """Write `mobileclip_s0_image.mlpackage` and `mobileclip_s0_text.mlpackage`; `blt` for pictures of 224 pixels."""
    size = source.manifest.image_size if source.manifest.image_size in _MOBILECLIP else _SIZE
    name = _MOBILECLIP[size]
    app = _App(
        f"mobileclip_{name}_image",
        f"mobileclip_{name}_text",
        ("image", "text"),
        ("final_emb_1", "final_emb_1"),
        False,
        {"normalizer": {"type": "Lowercase"}},
        False,
        lambda picture: centre_then_bilinear(picture, size),
        "the centre cut out, then bilinear without antialiasing",
        Preprocess(size, "crop", "bilinear"),
        (f"Choose MobileCLIP-{name.upper()} in the app. It ends on a text of more than 75 pieces.",),
    )
    require_clip(source, "ml-mobileclip's iOS app", size)
    return _write(app, source, folder)


def write_queryable(source: Source, folder: Path) -> Client:
    """Write both packages, vocab.json and merges.txt, which lie in its CoreMLModels."""
    spaces = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    app = _App(
        "ImageEncoder_mobileCLIP_s2",
        "TextEncoder_mobileCLIP_s2",
        ("colorImage", "input_ids"),
        ("embOutput", "text_embeddings"),
        True,
        {
            "normalizer": {"type": "Sequence", "normalizers": [strip, {"type": "Lowercase"}, spaces]},
            "pre_tokenizer": {"type": "WhitespaceSplit"},
        },
        True,
        lambda picture: squashed(picture, _SIZE, Image.Resampling.LANCZOS),
        "squashed, Lanczos with antialiasing",
        Preprocess(_SIZE, "squash", "bicubic"),
        (
            "It takes .mlmodelc: run `xcrun coremlcompiler compile` with each package on a Mac.",
            "It splits texts at spaces alone, so punctuation stays in a word and gets other ids; what is not ASCII "
            "has no ids of its own for it.",
        ),
    )
    require_clip(source, "Queryable", _SIZE)
    write_vocabulary(source, folder)
    return _write(app, source, folder)


def _write(app: _App, source: Source, folder: Path) -> Client:
    image, text = (folder / f"{name}.mlpackage" for name in (app.image, app.text))
    pictures = MilShell(source.image, image)
    pictures.takes_picture(app.inputs[0])
    pictures.gives(app.outputs[0], WIDTH)
    texts = MilShell(source.text, text)
    texts.takes_ids(app.inputs[1], app.float_ids, EOS)
    texts.gives(app.outputs[1], WIDTH)
    return _client(app, source, image, text)


def _client(app: _App, source: Source, image: Path, text: Path) -> Client:
    pictures, texts = open_coreml(image, 1), open_coreml(text, 1)
    plain: dict[str, Any] = {"truncation": None, "padding": None, "added_tokens": []}
    content = source.tokenizer_json() | plain | app.tokenizer
    if app.float_ids:  # pieces of no vocabulary are id 0, each of them
        content["model"] |= {"unk_token": source.token(0), "fuse_unk": False}
    tokenizer = Tokenizer.from_str(json.dumps(content))

    def ids(given: str) -> np.ndarray:
        return clip_ids(tokenizer, given, app.cut_eos).astype(np.int32)

    def embedding(given: str) -> np.ndarray:
        row: np.ndarray = texts(ids(given)[None].astype(np.float32 if app.float_ids else np.int32))[0]
        return row

    ran = {"native": "run by Core ML", "reference": "run by the reference interpreter, on no Apple device"}
    return Client(
        app.resized,
        lambda pixels: pictures(pixels[None].astype(np.float32) / 255)[0],
        ids,
        embedding,
        app.pictures,
        app.wanted,
        (*app.notes, f"Both packages were {ran[pictures.executed]}."),
    )
