"""UForm 3 in Python: its ONNX encoders and NumPy processors.

Read in unum-cloud/uform, python/uform (1427634): `numpy_processors.py` pads ids to `max_position_embeddings` with
`padding_idx` and gives a mask, resizes with Pillow's bicubic, cuts the longer side to whole pixels, and lets Pillow
round the margins; `onnx_encoders.py` gives int32 `input_ids` and `attention_mask`, float32 `images`, and reads two
outputs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto
from PIL import Image
from tokenizers import Tokenizer

from conaclip_edge.data.preprocess import Preprocess
from conaclip_edge.layouts.client import Client
from conaclip_edge.layouts.graphs import Ids, image_graph, save, text_graph
from conaclip_edge.layouts.onnx_file import OnnxFile
from conaclip_edge.layouts.pictures import cropped
from conaclip_edge.layouts.source import Source
from conaclip_edge.models.tokenizer import whole_text
from conaclip_edge.system.files import write_json

_OUTPUTS = ("features", "embeddings")  # the first is the embedding, too: there are no features to rank again by


def write(source: Source, folder: Path) -> Client:
    """Write config.json, tokenizer.json, text_encoder.onnx and image_encoder.onnx."""
    manifest = source.manifest
    ids = Ids("input_ids", TensorProto.INT32, ("batch", manifest.context), ("attention_mask",))
    save(text_graph(source.text, ids, _OUTPUTS, manifest.eos_id), folder / "text_encoder.onnx")
    save(image_graph(source.image, "images", _OUTPUTS, "batch"), folder / "image_encoder.onnx")
    (folder / "tokenizer.json").write_text(source.tokenizer.content, "utf-8")
    text = {
        "context_dim": manifest.embed_dim,
        "vocab_size": manifest.vocab_size,
        "padding_idx": manifest.pad_id,
        "max_position_embeddings": manifest.context,
    }
    image = {"image_size": manifest.image_size}
    image_config = image | {"normalization_means": [0.0, 0.0, 0.0], "normalization_deviations": [1.0, 1.0, 1.0]}
    write_json(
        folder / "config.json",
        {"embedding_dim": manifest.embed_dim, "text_encoder": text, "image_encoder": image_config},
    )
    return open_client(source, folder)


def open_client(source: Source, folder: Path) -> Client:
    """Open a written layout as UForm runs it.

    Args:
        source: the bundle that it was made of.
        folder: of the layout.
    """
    texts, pictures = (OnnxFile(folder / f"{name}_encoder.onnx") for name in ("text", "image"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    context, pad, size = source.manifest.context, source.manifest.pad_id, source.manifest.image_size

    def ids(text: str) -> np.ndarray:
        found = tokenizer.encode(whole_text(text)).ids[:context]
        return np.asarray([*found, *[pad] * (context - len(found))], np.int32)

    def embedding(text: str) -> np.ndarray:
        given = ids(text)
        mask = (np.arange(context) <= given.tolist().index(source.manifest.eos_id)).astype(np.int32)
        row: np.ndarray = texts({"input_ids": given[None], "attention_mask": mask[None]}, "embeddings")[0]
        return row

    return Client(
        lambda picture: cropped(picture, size, Image.Resampling.BICUBIC, int, round),
        lambda pixels: pictures({"images": pixels[None].astype(np.float32) / 255}, "embeddings")[0],
        ids,
        embedding,
        "cropped, bicubic with antialiasing, the longer side cut to whole pixels",
        Preprocess(size),
        ("UForm's own functions fetch a folder from a hub; give its processors and encoders these files by path.",),
    )
