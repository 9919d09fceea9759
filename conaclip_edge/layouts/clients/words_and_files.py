"""Apps that give words and encoded pictures: onnxruntime with onnxruntime-extensions, which has packages for phones.

`text.onnx` takes a string, `image.onnx` the bytes of a JPEG or PNG: the app needs no tokenizer and no resize. Operators
are those of onnxruntime-extensions 0.15.2: BertTokenizer and CLIPTokenizer (`ai.onnx.contrib`), DecodeImage
(`com.microsoft.extensions`), which turns no picture upright and drops alpha.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime_extensions
from onnx import TensorProto, helper
from PIL import Image

from conaclip_edge.bundle.embeddings import cosines
from conaclip_edge.bundle.golden import FOLDER, read_golden
from conaclip_edge.errors import UserError
from conaclip_edge.layouts.client import Client
from conaclip_edge.layouts.graphs import Ids, image_graph, save, text_graph
from conaclip_edge.layouts.onnx_file import OnnxFile
from conaclip_edge.layouts.picture_nodes import picture_nodes
from conaclip_edge.layouts.source import Source
from conaclip_edge.models.tokenizer import whole_text

_TOKENIZERS, _PICTURES = "ai.onnx.contrib", "com.microsoft.extensions"
_ORIENTATION = 0x0112  # the EXIF tag
_BERT = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}


def write(source: Source, folder: Path) -> Client:
    """Write text.onnx and image.onnx.

    Raises:
        UserError: a tokenizer that the operators cannot express.
    """
    save(_text(source), folder / "text.onnx", whole=False)
    save(_image(source), folder / "image.onnx", whole=False)
    return open_client(source, folder)


def open_client(source: Source, folder: Path) -> Client:
    """Open a written layout as an app runs it.

    Args:
        source: the bundle that it was made of.
        folder: of the layout.
    """
    library = onnxruntime_extensions.get_library_path()
    texts, pictures = (OnnxFile(folder / f"{name}.onnx", library) for name in ("text", "image"))

    def run(data: bytes, output: str) -> np.ndarray:
        return pictures({"image": np.frombuffer(data, np.uint8)}, output)

    def ids(text: str) -> np.ndarray:
        row: np.ndarray = texts({"text": np.asarray([whole_text(text)], object)}, "ids")[0]
        return row

    return Client(
        lambda picture: run(_png(np.asarray(picture)), "pixels")[0],
        lambda pixels: run(_png(pixels.transpose(1, 2, 0)), "embedding")[0],
        ids,
        lambda text: texts({"text": np.asarray([whole_text(text)], object)}, "embedding")[0],
        f"{source.preprocess.resize}, {source.preprocess.resample} with antialiasing, inside of the graph",
        source.preprocess,
        (
            "Register the operators of onnxruntime-extensions with the session: Android and iOS have packages of it.",
            "Its tokenizers split some scripts otherwise and know no special token inside of a text: see other ids.",
            *_different(source, lambda data: run(data, "embedding")[0]),
        ),
    )


def _text(source: Source) -> onnx.ModelProto:
    model = text_graph(source.text, Ids("ids", TensorProto.INT64, (1, "length")), ["embedding"], source.manifest.eos_id)
    context = helper.make_tensor("words.context", TensorProto.INT64, [1], [source.manifest.context])
    zero = helper.make_tensor("words.zero", TensorProto.INT64, [1], [0])
    row = helper.make_tensor("words.row", TensorProto.INT64, [2], [1, -1])
    nodes = [
        _tokenizer(source),
        helper.make_node("Reshape", ["words.ids", "words.row"], ["words.whole"]),
        helper.make_node("Slice", ["words.whole", "words.zero", "words.context", "words.one"], ["ids"]),
    ]
    one = helper.make_tensor("words.one", TensorProto.INT64, [1], [1])
    given = helper.make_tensor_value_info("text", TensorProto.STRING, [1])
    result = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "length"])
    return _before(model, nodes, given, [result], [context, zero, row, one], _TOKENIZERS)


def _tokenizer(source: Source) -> onnx.NodeProto:
    """Write the node that makes ids of a string.

    Raises:
        UserError: it cannot be expressed.
    """
    content = source.tokenizer_json()
    model, normalizer = content["model"], content.get("normalizer") or {}
    if model["type"] == "WordPiece" and normalizer.get("type") == "BertNormalizer":
        unknown = model["unk_token"]
        # the operator asks for all of them, though only the first two are ever written
        names = {f"{name}_token": token if token in model["vocab"] else unknown for name, token in _BERT.items()}
        lower = bool(normalizer["lowercase"])
        accents = normalizer.get("strip_accents")
        return helper.make_node(
            "BertTokenizer",
            ["text"],
            ["words.ids", "words.types", "words.mask"],  # it writes all three, named or not
            domain=_TOKENIZERS,
            vocab_file="\n".join(sorted(model["vocab"], key=model["vocab"].__getitem__)),
            do_lower_case=int(lower),
            strip_accents=int(lower if accents is None else accents),
            tokenize_chinese_chars=int(normalizer["handle_chinese_chars"]),
            suffix_indicator=model["continuing_subword_prefix"],
            unk_token=unknown,
            **names,
        )
    raise UserError(
        f"bundle {source.bundle} has a tokenizer of kind {model['type']}; the operators are used for BERT's WordPiece "
        "alone (CLIPTokenizer 0.15.2 ends the process on some texts). Distil from a teacher with BERT's WordPiece."
    )


def _image(source: Source) -> onnx.ModelProto:
    model = image_graph(source.image, "pixels01", ["embedding"])
    decode = helper.make_node("DecodeImage", ["image"], ["file.rgb"], domain=_PICTURES, color_space="rgb")
    nodes, constants = picture_nodes("file.rgb", source.preprocess, "pixels", "pixels01")
    size = source.preprocess.size
    given = helper.make_tensor_value_info("image", TensorProto.UINT8, ["bytes"])
    result = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 3, size, size])
    return _before(model, [decode, *nodes], given, [result], constants, _PICTURES)


def _before(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    given: onnx.ValueInfoProto,
    results: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
    domain: str,
) -> onnx.ModelProto:
    """Put nodes before a model, whose inputs they make."""
    graph = model.graph
    del graph.input[:]
    graph.input.append(given)
    graph.output.extend(results)
    graph.initializer.extend(constants)
    whole = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(whole)
    model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def _different(source: Source, embed: object) -> list[str]:
    """Name the golden pictures whose embedding misses the bar of int8, each with the reason."""
    golden = read_golden(source.bundle / FOLDER)
    assert callable(embed)
    found = cosines(np.stack([embed(data) for data in golden.pictures]), golden.picture_embeddings)
    return [
        f"Golden picture {name}: cosine {cosine:.4f}, since {_reason(data)}."
        for name, data, cosine in zip(golden.names, golden.pictures, found, strict=True)
        if cosine < golden.min_cosine["int8"]
    ]


def _reason(data: bytes) -> str:
    picture = Image.open(io.BytesIO(data))
    if picture.getexif().get(_ORIENTATION, 1) != 1:
        return "its EXIF orientation is not applied"
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return "its alpha is dropped"
    return "its colours are decoded otherwise"


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
