"""Exported towers that a test writes by hand, as small or as large as it needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import BaseModel

from conaclip_edge.bundle.manifest import ExportedFile, Manifest, digest_of, manifest_text
from conaclip_edge.bundle.members import hashed
from conaclip_edge.data.preprocess import Preprocess, describe
from conaclip_edge.system.files import write_json

SPACE = "ab" * 32


def picture_tower(path: Path, ballast: int = 0) -> Path:
    """Write an ONNX tower whose embedding is the mean colour, with so many bytes of weights that count for nothing."""
    weight = np.random.default_rng(0).standard_normal((max(1, ballast // 12), 3)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["colour"]),
        helper.make_node("MatMul", ["colour", "weight"], ["wide"]),
        helper.make_node("ReduceMax", ["wide"], ["most"], keepdims=1),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["colour", "nothing"], ["embedding"]),
    ]
    constants = [numpy_helper.from_array(weight.T, "weight"), numpy_helper.from_array(np.zeros(1, np.float32), "zero")]
    given = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 4, 4])
    return _save(path, nodes, constants, given)


def text_tower(path: Path) -> Path:
    """Write an ONNX tower whose embedding is (sum of ids, largest id, 1)."""
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["ids", "axis"], ["sum"], keepdims=1),
        helper.make_node("ReduceMax", ["ids", "axis"], ["most"], keepdims=1),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "one"], ["ones"]),
        helper.make_node("Concat", ["sum", "most", "ones"], ["embedding"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.asarray([1]), "axis"),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        numpy_helper.from_array(np.ones(1, np.float32), "one"),
    ]
    given = helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", "length"])
    return _save(path, nodes, constants, given)


def _save(path: Path, nodes: list, constants: list, given: onnx.ValueInfoProto) -> Path:
    result = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "tower", [given], [result], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


def small_bundle(folder: Path, targets: dict[str, str]) -> Path:
    """Write the folder of a bundle that lists files; they hold nothing.

    Args:
        folder: of the bundle.
        targets: path in the bundle, e.g. "onnx/image.int8.onnx" -> target.
    """
    files = tuple(
        filled(ExportedFile).model_copy(
            update={
                "path": path,
                "target": target,
                "precision": Path(path).name.split(".")[1],
                "tower": Path(path).name.split(".")[0],
                "backend": {"onnx": "onnxruntime", "executorch": "xnnpack"}.get(target, target),
                "size": 1000,
            }
        )
        for path, target in targets.items()
    )
    known: dict[str, Any] = {
        "name": "drawn",
        "embedding_space": SPACE,
        "embed_dim": 3,
        "image_size": 4,
        "context": 8,
        "eos_id": 3,
    }
    for path in targets:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"a file")
    write_json(folder / "preprocess.json", describe(Preprocess(4)))
    known |= {"eos_id": 3, "pad_id": 0, "files": files, "members": hashed(folder), "training": {}}
    manifest = filled(Manifest).model_copy(update=known)
    folder.mkdir(parents=True, exist_ok=True)
    text = manifest_text(manifest.model_copy(update={"digest": digest_of(manifest)}))
    (folder / "manifest.json").write_text(text, "utf-8")
    return folder


def filled(kind: Any) -> Any:
    """Make a value of a type: a model with all its fields, the first of literals, else something small."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        values = {field.alias or name: filled(field.annotation) for name, field in fields}
        return kind.model_validate(values | ({"target": "onnx"} if "target" in values else {}))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return arguments[0]
    if origin is Annotated:
        return filled(arguments[0])
    if type(None) in arguments:
        return None
    simple = {str: SPACE, int: 2, bool: False, float: 1.0, dict: {}, tuple: ()}
    return simple[origin or kind]
