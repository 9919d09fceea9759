"""transformers.js: CLIP's classes with projection, dtype q8, local files or a folder on a server.

Read in @huggingface/transformers 4.3.2: `src/tokenization_utils.js` cuts a text to `model_max_length` and its EOS with
it, pads with `pad_token` behind; `src/image_processors_utils.js` rounds the longer side to two decimals, then down;
`src/utils/image.js` resizes in Node by sharp: nearest, bilinear and bicubic without antialiasing, Lanczos with it, and
bicubic where a picture gets larger. In a browser it draws on a canvas, whatever the filter's name. `rgb()` drops alpha.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from onnx import TensorProto
from PIL import Image
from tokenizers import Tokenizer

from conaclip_edge.layouts.client import Client
from conaclip_edge.layouts.graphs import Ids, image_graph, save, text_graph
from conaclip_edge.layouts.onnx_file import OnnxFile
from conaclip_edge.layouts.pictures import cropped, squashed
from conaclip_edge.layouts.source import Source
from conaclip_edge.models.tokenizer import whole_text
from conaclip_edge.system.files import write_json

_LANCZOS = 1  # of Pillow's filters; the only one that is antialiased in Node
_GAP = 2.0  # libvips, which sharp calls, takes means of blocks before it filters


def write(source: Source, folder: Path) -> Client:
    """Write config, tokenizer, processor and `onnx/{text,vision}_model_quantized.onnx`."""
    manifest, squash = source.manifest, source.preprocess.resize == "squash"
    size, context = manifest.image_size, manifest.context
    ids = Ids("input_ids", TensorProto.INT64, ("batch", "length"))
    text, vision = _towers(folder)
    save(text_graph(source.text, ids, ["text_embeds"], manifest.eos_id), text)
    save(image_graph(source.image, "pixel_values", ["image_embeds"], "batch"), vision)
    (folder / "tokenizer.json").write_text(source.tokenizer.content, "utf-8")
    pad, eos = source.token(manifest.pad_id), source.token(manifest.eos_id)
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context}
    write_json(folder / "tokenizer_config.json", tokenizer | {"pad_token": pad, "eos_token": eos})
    write_json(folder / "preprocessor_config.json", _processor(size, squash))
    towers = {
        "text_config": {"model_type": "clip_text_model", "max_position_embeddings": context},
        "vision_config": {"model_type": "clip_vision_model", "image_size": size},
    }
    config = {"model_type": "clip", "architectures": ["CLIPModel"], "projection_dim": manifest.embed_dim}
    write_json(folder / "config.json", config | towers)
    return open_client(source, folder)


def _processor(size: int, squash: bool) -> dict[str, object]:
    sides: dict[str, int] = {"height": size, "width": size}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": sides if squash else {"shortest_edge": size},
        "resample": _LANCZOS,
        "do_center_crop": not squash,
        "crop_size": sides,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": False,
    }


def _towers(folder: Path) -> tuple[Path, Path]:
    return folder / "onnx" / "text_model_quantized.onnx", folder / "onnx" / "vision_model_quantized.onnx"


def open_client(source: Source, folder: Path) -> Client:
    """Open a written layout as transformers.js in Node runs it.

    Args:
        source: the bundle that it was made of.
        folder: of the layout.
    """
    text, vision = _towers(folder)
    tokenizer = Tokenizer.from_str(json.dumps(source.tokenizer_json() | {"truncation": None, "padding": None}))
    texts, pictures, context = OnnxFile(text), OnnxFile(vision), source.manifest.context
    size, squash = source.preprocess.size, source.preprocess.resize == "squash"

    def resized(picture: Image.Image) -> np.ndarray:
        shrinks = min(picture.size) > size
        resample = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
        if squash:
            return squashed(picture, size, resample, _GAP)
        return cropped(picture, size, resample, lambda side: int(round(side, 2)), math.floor, _GAP)

    def ids(text: str) -> np.ndarray:
        return np.asarray(tokenizer.encode(whole_text(text)).ids[:context], np.int64)

    return Client(
        resized,
        lambda pixels: pictures({"pixel_values": pixels[None].astype(np.float32) / 255})[0],
        ids,
        lambda text: texts({"input_ids": ids(text)[None]})[0],
        f"{'squashed' if squash else 'cropped'}, Lanczos with antialiasing (in Node)",
        source.preprocess,
        (
            "transformers.js drops the alpha of transparent pictures: lay them over white first (docs/clients.md).",
            "In a browser it resizes on a canvas, not by this filter: resize there as docs/clients.md does.",
        ),
    )
