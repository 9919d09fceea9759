"""The model card's Python: embed a picture and a text with the bundle's own files, as short as it can be right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conaclip_edge.bundle.manifest import ExportedFile, Manifest

_ONNX = """\
image = onnxruntime.InferenceSession("IMAGE")
text = onnxruntime.InferenceSession("TEXT")"""
_ONNX_RUN = """\
def run(session, name, values):
    return session.run(["embedding"], {name: values})[0][0]"""
_EXECUTORCH = """\
runtime = Runtime.get()
image = runtime.load_program("IMAGE").load_method("forward")
text = runtime.load_program("TEXT").load_method("forward")"""
_EXECUTORCH_RUN = """\
def run(method, name, values):
    # contiguous: a transposed array is read as if it were not, and gives a wrong embedding without an error;
    # clone: it uses the output's memory again in the next call
    return method.execute([torch.from_numpy(values).contiguous()])[0].clone().numpy()[0]"""
_CROP = """\
    scale = SIZE / min(picture.size)
    width, height = (max(SIZE, round(side * scale)) for side in picture.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    picture = picture.resize((width, height), Image.Resampling.FILTER)
    picture = picture.crop((left, top, left + SIZE, top + SIZE))"""
_SQUASH = """\
    picture = picture.resize((SIZE, SIZE), Image.Resampling.FILTER)"""
_CODE = """\
IMPORTS

OPEN
tokenizer = Tokenizer.from_file("tokenizer.json")


RUN


def embed_picture(path):
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    # a picture in another colour space than sRGB: PIL.ImageCms brings it there
RESIZE
    pixels = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255
    return run(image, "pixel_values", pixels)


def embed_text(caption):
    ids = tokenizer.encode(caption).ids
PAD    return run(text, "input_ids", np.array([ids], np.int32))"""
_CUT = """\
    if not 2 <= len(ids) <= CONTEXT or ids[-1] != EOS:
        ids = [*ids[: CONTEXT - 1], EOS]  # too long: cut, with the end of the text kept
"""
_ANY = """\
from conaclip_edge import open_bundle

bundle = open_bundle(".", "TARGET", "PRECISION")


def embed_picture(path):
    return bundle.embed_images([path])[0]


def embed_text(caption):
    return bundle.embed_texts([caption])[0]"""


def python_code(manifest: Manifest, preprocess: Mapping[str, Any]) -> str:
    """Return code that defines embed_picture(path) and embed_text(caption); it runs in the bundle's folder."""
    onnx, executorch = files_of(manifest, "onnx", ".onnx"), files_of(manifest, "executorch", ".pte")
    if onnx:
        return _towers(manifest, preprocess, onnx, "import onnxruntime\n", _ONNX, _ONNX_RUN)
    if executorch and executorch["image"].backend != "coreml":
        return _towers(manifest, preprocess, executorch, "import torch\n", _EXECUTORCH, _EXECUTORCH_RUN)
    first = manifest.files[0]
    return _ANY.replace("TARGET", first.target).replace("PRECISION", first.precision)


def files_of(manifest: Manifest, target: str, suffix: str) -> dict[str, ExportedFile]:
    """Return a target's files by tower, int8 before other precisions; those for the CPU where there are others."""
    order = ("fp32", "fp16", "int8")
    named = [file for file in manifest.files if file.path.startswith(f"{target}/") and file.path.endswith(suffix)]
    files = [file for file in named if file.form is None]
    return {file.tower: file for file in sorted(files, key=lambda file: order.index(file.precision))}


def _towers(
    manifest: Manifest, preprocess: Mapping[str, Any], files: dict[str, ExportedFile], library: str, load: str, run: str
) -> str:
    executorch = "from executorch.runtime import Runtime\n" if run is _EXECUTORCH_RUN else ""
    imports = (
        f"import numpy as np\n{library}{executorch}from PIL import Image, ImageOps\nfrom tokenizers import Tokenizer"
    )
    lengths = files["text"].notes.get("lengths")
    pad = (
        f"    ids += [{manifest.pad_id}] * (next(n for n in {lengths} if n >= len(ids)) - len(ids))\n"
        if lengths
        else ""
    )
    pad = "" if manifest.fixed_length else _CUT + pad  # tokenizer.json does both then
    resize = _SQUASH if preprocess["crop"] is None else _CROP
    parts = {
        "PAD": pad,
        "IMPORTS": imports,
        "OPEN": load.replace("IMAGE", files["image"].path).replace("TEXT", files["text"].path),
        "RUN": run,
        "RESIZE": resize.replace("SIZE", str(manifest.image_size)).replace(
            "FILTER", str(preprocess["resize"]["filter"]).upper()
        ),
        "CONTEXT - 1": str(manifest.context - 1),
        "CONTEXT": str(manifest.context),
        "EOS": str(manifest.eos_id),
    }
    code = _CODE
    for name, text in parts.items():
        code = code.replace(name, text)
    return code
