"""immich's machine learning service: its OpenClip encoders, which read a folder of their model cache.

Read in immich-app/immich, machine-learning/immich_ml (0538dd7 and later, onnxruntime 1.23 or newer):
`models/clip/textual.py` pads ids to the context with `pad_token` and gives int32 [1, context] as `text`;
`models/clip/visual.py` and `models/transforms.py` resize with Pillow, cut sizes and margins to whole pixels, and apply
mean and deviation of `preprocess_cfg.json`; names of folders are a fixed list (`models/constants.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto
from PIL import Image
from tokenizers import Tokenizer

from conaclip_edge.errors import UserError
from conaclip_edge.layouts.client import Client
from conaclip_edge.layouts.graphs import Ids, image_graph, save, text_graph
from conaclip_edge.layouts.onnx_file import OnnxFile
from conaclip_edge.layouts.pictures import cropped, squashed
from conaclip_edge.layouts.source import Source
from conaclip_edge.models.tokenizer import whole_text
from conaclip_edge.system.files import write_json

# numbers of an embedding -> a name that immich knows, whose embeddings have so many
NAMES = {
    512: "ViT-B-32__openai",
    640: "RN50x4__openai",
    768: "ViT-L-14__openai",
    1024: "RN50__openai",
    1152: "ViT-SO400M-14-SigLIP-384__webli",
}
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def write(source: Source, folder: Path) -> Client:
    """Write config.json, `textual/` and `visual/`.

    Raises:
        UserError: the embedding is longer than that of any name which immich knows.
    """
    manifest, preprocess = source.manifest, source.preprocess
    width = next((width for width in NAMES if width >= manifest.embed_dim), None)
    if width is None:
        raise UserError(
            f"bundle {source.bundle} has embeddings of {manifest.embed_dim} numbers, immich knows "
            f"{', '.join(map(str, NAMES))}. Train with student.embed_dim={max(NAMES)} or fewer."
        )
    ids = Ids("text", TensorProto.INT32, (1, manifest.context))
    save(text_graph(source.text, ids, ["text_embedding"], manifest.eos_id, width), folder / "textual/model.onnx")
    save(image_graph(source.image, "image", ["image_embedding"], 1, width=width), folder / "visual/model.onnx")
    (folder / "textual" / "tokenizer.json").write_text(source.tokenizer.content, "utf-8")
    write_json(folder / "textual" / "tokenizer_config.json", {"pad_token": source.token(manifest.pad_id)})
    size = manifest.image_size
    how = {"size": [size, size], "mode": "RGB", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "fill_color": 0}
    how |= {"interpolation": preprocess.resample}
    how |= {"resize_mode": "squash" if preprocess.resize == "squash" else "shortest"}
    write_json(folder / "visual" / "preprocess_cfg.json", how)
    vision = {"image_size": size}
    text = {"context_length": manifest.context, "vocab_size": manifest.vocab_size}
    write_json(folder / "config.json", {"embed_dim": width, "vision_cfg": vision, "text_cfg": text})
    return open_client(source, folder, NAMES[width])


def open_client(source: Source, folder: Path, name: str) -> Client:
    """Open a written layout as immich runs it.

    Args:
        source: the bundle that it was made of.
        folder: of the layout.
        name: under which immich takes it.
    """
    texts, pictures = (OnnxFile(folder / part / "model.onnx") for part in ("textual", "visual"))
    context = json.loads((folder / "config.json").read_text("utf-8"))["text_cfg"]["context_length"]
    pad = json.loads((folder / "textual" / "tokenizer_config.json").read_text("utf-8"))["pad_token"]
    tokenizer = Tokenizer.from_file(str(folder / "textual" / "tokenizer.json"))
    tokenizer.enable_padding(length=context, pad_token=pad, pad_id=tokenizer.token_to_id(pad))
    tokenizer.enable_truncation(max_length=context)
    size, resample = source.preprocess.size, _FILTERS[source.preprocess.resample]

    def resized(picture: Image.Image) -> np.ndarray:
        if source.preprocess.resize == "squash":
            return squashed(picture, size, resample)
        return cropped(picture, size, resample, int, int)

    def ids(text: str) -> np.ndarray:
        cleaned = " ".join(whole_text(text).split())
        return np.asarray(tokenizer.encode(cleaned).ids, np.int32)

    return Client(
        resized,
        lambda pixels: pictures({"image": pixels[None].astype(np.float32) / 255})[0],
        ids,
        lambda text: texts({"text": ids(text)[None]})[0],
        f"{source.preprocess.resize}, {source.preprocess.resample} with antialiasing, sizes cut to whole pixels",
        source.preprocess,
        (
            f"immich's names are a fixed list: put the folder into its model cache as clip/{name}, choose that model "
            "in its settings, and let it index all pictures again.",
            "immich runs the file without onnxruntime's precise mode: on a server with AVX2 and without VNNI, 8-bit "
            "sums overflow (docs/clients.md).",
        ),
    )
