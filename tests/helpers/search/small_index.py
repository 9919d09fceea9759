"""A bundle of two small linear towers and folders of pictures: enough to index and search in milliseconds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from conaclip_edge.bundle.members import hashed
from conaclip_edge.data.preprocess import Preprocess, describe
from conaclip_edge.search.index import open_index
from conaclip_edge.search.sqlite_store import FILE
from conaclip_edge.system.files import sha256_file, write_json

SIZE, DIM, CONTEXT = 8, 16, 12
SPACE, OTHER = "ab" * 32, "cd" * 32
COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}


def write_bundle(folder: Path, space: str = SPACE) -> Path:
    """Write a bundle whose picture embedding is the mean colour and a little of every pixel; texts are colours."""
    (folder / "onnx").mkdir(parents=True)
    random = np.random.default_rng(0)
    weight = np.zeros((3, SIZE * SIZE, DIM), np.float32)
    weight[np.arange(3), :, np.arange(3)] = 1 / SIZE**2
    weight[:, :, 3:] = 0.02 * random.standard_normal((3, SIZE * SIZE, DIM - 3))
    nodes = [
        helper.make_node("Flatten", ["pixel_values"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["given"]),
    ]
    shape = ["batch", 3, SIZE, SIZE]
    _tower(folder / "onnx/image.int8.onnx", nodes, weight.reshape(-1, DIM), ("pixel_values", TensorProto.FLOAT, shape))
    words = {"[PAD]": 0, "[UNK]": 1, "[SEP]": 2, "red": 3, "green": 4, "blue": 5}
    table = np.zeros((len(words), DIM), np.float32)
    table[1, 3:] = random.standard_normal(DIM - 3)
    table[[3, 4, 5], [0, 1, 2]] = 1
    nodes = [
        helper.make_node("Gather", ["weight", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["given"], keepdims=0),
    ]
    _tower(folder / "onnx/text.int8.onnx", nodes, table, ("input_ids", TensorProto.INT32, ["batch", "length"]))
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 2)])
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), "utf-8")
    write_json(folder / "preprocess.json", describe(Preprocess(SIZE)))
    manifest = {"embedding_space": space, "embed_dim": DIM, "image_size": SIZE, "context": CONTEXT}
    members = {name: {"sha256": member.sha256, "size": member.size} for name, member in hashed(folder).items()}
    manifest["members"] = members
    write_json(folder / "manifest.json", manifest)
    return folder


def _tower(path: Path, nodes: list, weight: np.ndarray, given: tuple[str, int, list]) -> None:
    ends = [
        helper.make_node("ReduceL2", ["given", "axis"], ["length"], keepdims=1),
        helper.make_node("Div", ["given", "length"], ["embedding"]),
    ]
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.asarray([1]), "axis")]
    result = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIM])
    graph = helper.make_graph(
        [*nodes, *ends], "tower", [helper.make_tensor_value_info(*given)], [result], initializer=constants
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))


def write_pictures(folder: Path, count: int, seed: int = 0) -> Path:
    """Write pictures of noise, a third of each colour, in three folders: red-0.png, sub/green-1.png, ..."""
    random = np.random.default_rng(seed)
    for number in range(count):
        name = list(COLOURS)[number % 3]
        pixels = np.clip(np.asarray(COLOURS[name]) + random.integers(-60, 60, (SIZE, SIZE, 3)), 0, 255)
        path = folder / ("", "sub", "sub/deep")[number % 3] / f"{name}-{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


def nearest_by_hand(index: Path, vector: np.ndarray, k: int) -> list[int]:
    """Return the keys of the k nearest pictures by comparing with every one."""
    opened = open_index(index)
    keys, vectors = opened.vectors()
    opened.close()
    scores = [(-float(row @ vector), int(key)) for key, row in zip(keys, vectors, strict=True)]
    return [key for _, key in sorted(scores)[:k]]


def contents(index: Path, queries: Iterable[np.ndarray] = ()) -> str:
    """Return everything that an index holds, as text: rows, vectors, the graph file's bytes, what searches find."""
    rows = rows_of(index / FILE)
    opened = open_index(index)
    found = [[(hit.key, str(hit.path), hit.score) for hit in opened.search(query, 10)] for query in queries]
    opened.close()
    graphs = {path.name: sha256_file(path) for path in sorted(index.glob("graph-*"))}
    return json.dumps([rows, graphs, found])


def rows_of(sidecar: Path) -> dict[str, list]:
    """Return the rows of an index's tables."""
    connection = sqlite3.connect(sidecar)
    rows = {
        table: [
            [value.hex() if isinstance(value, bytes) else value for value in row]
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1")
        ]
        for table in ("meta", "pictures", "vectors", "broken")
    }
    connection.close()
    return rows
