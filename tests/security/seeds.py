"""Valid files of every kind that the package reads, made in the current folder, each as small as can be."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}


def encoded(kind: str, colour: str = "red", **options: Any) -> bytes:
    """Encode a picture of 12 x 9 pixels of one colour and a little noise."""
    noise = np.random.default_rng(0).integers(-20, 20, (9, 12, 3))
    buffer = io.BytesIO()
    pixels = np.clip(np.asarray(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def pictures() -> list[bytes]:
    """Encode a picture in all formats that people have."""
    turned = Image.Exif()
    turned[0x0112] = 6
    grey16 = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 999).save(grey16, "PNG")
    palette = io.BytesIO()
    Image.open(io.BytesIO(encoded("PNG"))).quantize(8).save(palette, "PNG", transparency=bytes(range(0, 256, 32)))
    plain = [encoded(kind) for kind in ("PNG", "GIF", "WEBP", "BMP", "TIFF", "TGA", "PPM", "ICO", "JPEG2000", "AVIF")]
    jpegs = [encoded("JPEG"), encoded("JPEG", exif=turned), encoded("JPEG", progressive=True)]
    return [*plain, *jpegs, grey16.getvalue(), palette.getvalue()]


def picture_folder(folder: Path) -> Path:
    """Write red.png, green.png and blue.png."""
    folder.mkdir(parents=True)
    for colour in COLOURS:
        (folder / f"{colour}.png").write_bytes(encoded("PNG", colour))
    return folder


def karpathy() -> bytes:
    """Write dataset_coco.json's text for the picture folder."""
    splits = ("train", "val", "test")
    images = [
        {"filename": f"{name}.png", "split": split, "sentences": [{"raw": f"a {name} thing", "sentid": 1}], "imgid": 1}
        for name, split in zip(COLOURS, splits, strict=True)
    ]
    return json.dumps({"images": [{**images[0], "filepath": "val"}, *images[1:]], "dataset": "coco"}).encode()


def coco() -> bytes:
    """Write captions_train2017.json's text for the picture folder."""
    images = [{"id": number, "file_name": f"{name}.png", "height": 9} for number, name in enumerate(COLOURS)]
    annotations = [{"image_id": number, "id": 7, "caption": f"a {name} thing"} for number, name in enumerate(COLOURS)]
    return json.dumps({"info": {}, "images": images, "annotations": annotations}).encode()


def easynlp() -> bytes:
    """Write a table of text <TAB> base64."""
    import base64

    return b"".join(f"a {one} thing\t".encode() + base64.b64encode(encoded("GIF", one)) + b"\n" for one in COLOURS)


def json_lines() -> bytes:
    """Write metadata.jsonl's text for the picture folder."""
    rows = [{"file_name": f"{name}.png", "captions": [f"a {name} thing", name], "split": "val"} for name in COLOURS]
    return "\n".join(json.dumps(row) for row in [*rows, {"file_name": "red.png", "text": "x"}]).encode()


def csv_table() -> bytes:
    """Write metadata.csv's text for the picture folder."""
    return "".join(["file_name,text,split\r\n", *(f'{name}.png,"a, {name}",train\r\n' for name in COLOURS)]).encode()


def parquet() -> bytes:
    """Write a table of pictures as {bytes, path}, captions and splits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [{"bytes": encoded("PNG", name), "path": f"{name}.png"} for name in COLOURS]
    captions = pa.array([[f"a {name} thing", name] for name in COLOURS], pa.list_(pa.string()))
    table = pa.table({"image": pa.array(rows, picture), "captions": captions, "split": ["train", "val", "test"]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="none")
    return buffer.getvalue()


def shard() -> bytes:
    """Write a tar shard with a text or a JSON beside each picture."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in COLOURS:
            about = json.dumps({"caption": f"a {name} thing", "width": 12}).encode()
            for suffix, data in (("png", encoded("PNG", name)), ("json", about), ("txt", name.encode())):
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def bundle(folder: Path) -> Path:
    """Write a bundle of the target onnx that verifies."""
    from conaclip_edge.bundle.embeddings import embed_ids, embed_pixels
    from conaclip_edge.bundle.golden import MIN_COSINE, Golden, write_golden
    from conaclip_edge.data.preprocess import Preprocess, decode, describe, to_pixels
    from conaclip_edge.models.tokenizer import TextTokenizer
    from conaclip_edge.runtime.open_tower import open_tower
    from conaclip_edge.system.files import write_json
    from tests.helpers.search.small_index import CONTEXT, DIM, SIZE, SPACE, write_bundle

    write_bundle(folder)
    tokenizer, texts = TextTokenizer(folder / "tokenizer.json", CONTEXT), ("red", "green blue")
    ids = tuple(np.asarray(tokenizer.ids(text), np.int32) for text in texts)
    shown = tuple(encoded("PNG", name) for name in ("red", "blue"))
    pixels = np.stack([to_pixels(decode(data), SIZE) for data in shown])
    image, text = (open_tower(folder / f"onnx/{name}.int8.onnx") for name in ("image", "text"))
    vectors = embed_ids(text, ids, 0, "text"), embed_pixels(image, pixels, "image")
    golden = Golden(texts, ids, vectors[0], ("red.png", "blue.png"), shown, pixels, vectors[1], MIN_COSINE, MIN_COSINE)
    write_golden(golden, folder / "golden")
    write_json(folder / "preprocess.json", describe(Preprocess(SIZE)))
    cosine, recall = {"mean": 1.0, "p1": 1.0, "min": 1.0}, {"t2i": {"1": 99.5}, "i2t": {"1": 98.5}}
    whole = {"recall": recall, "relative_recall": {"t2i": 1.0}, "worse": {"t2i": 0}, "better": {"t2i": 0}}
    gate = {"dataset": "colours", "fingerprint": "f", "split": "val", "pictures": 3, "captions": 3, "host": "any"}
    gate |= {"executed": "native", "cosine": cosine, "norm_error": 0.0, "not_finite": 0, "recall_student": recall}
    gate |= {"alone": whole, "pair": whole, "golden": cosine}
    row = {"target": "onnx", "precision": "int8", "backend": "onnxruntime", "size": 9, "float_size": 9, "gate": gate}
    row |= {"settings": {"opset": 20}, "notes": {}, "calibration": {"sha256": SPACE, "pairs": 320}}
    files = [row | {"path": f"onnx/{tower}.int8.onnx", "tower": tower} for tower in ("image", "text")]
    content = {"schema": "conaclip-edge/bundle/1", "name": "colours", "embedding_space": SPACE, "embed_dim": DIM}
    content |= {"image_size": SIZE, "context": CONTEXT, "vocab_size": 6, "eos_id": 2, "pad_id": 0, "licence": "CC0"}
    content |= {"training": {"graph": ["SI-ST"]}, "versions": {"torch": "2"}, "files": files, "members": {}}
    (folder / "manifest.json").write_text(json.dumps(content), "utf-8")
    seal(folder, hash_members=True)
    return folder


def seal(folder: Path, hash_members: bool) -> None:
    """Give a manifest the digest that fits it, as whoever wrote it with ill intent would; leave it if it is none."""
    from pydantic import ValidationError

    from conaclip_edge.bundle.manifest import Manifest, digest_of, manifest_text
    from conaclip_edge.bundle.members import hashed

    path = folder / "manifest.json"
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
        if hash_members:
            manifest = manifest.model_copy(update={"members": hashed(folder)})
        text = manifest_text(manifest.model_copy(update={"digest": digest_of(manifest)}))
        path.write_text(text, "utf-8")
    except (ValidationError, ValueError, RecursionError):
        return


def tokenizers() -> list[bytes]:
    """Write a tokenizer.json of each kind, all of which know the bundle's words."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    words = {"[PAD]": 0, "[UNK]": 1, "[SEP]": 2, "red": 3, "green": 4, "blue": 5}
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 6)}
    scores = [(word, -float(number)) for word, number in words.items()]
    made = []
    for model in (
        models.WordLevel(words, unk_token="[UNK]"),
        models.WordPiece(words | letters, unk_token="[UNK]"),
        models.BPE(words | letters | {"re": 999}, [("r", "e")], unk_token="[UNK]", ignore_merges=True),
        models.Unigram(scores, unk_id=1, byte_fallback=False),
    ):
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[SEP]"])
        tokenizer.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 2)])
        tokenizer.decoder = decoders.WordPiece()
        made.append(tokenizer.to_str().encode())
    return made


def core_ml(path: Path) -> Path:
    """Write a Core ML package of one linear layer whose weights are in a file of their own."""
    from tests.helpers.coreml_programs import built, mb

    weight = np.random.default_rng(0).standard_normal((16, 192)).astype(np.float32)

    def body(pixel_values: Any) -> Any:
        flat = mb.reshape(x=pixel_values, shape=[1, 192])
        return mb.linear(x=flat, weight=weight, name="embedding")

    return built(path, [mb.TensorSpec(shape=(1, 3, 8, 8))], body)


def executorch(core_ml: bool) -> bytes:
    """Make an ExecuTorch program of one linear layer, for XNNPACK (kept as linear.pte) or the Core ML delegate."""
    import torch
    from executorch.exir import to_edge_transform_and_lower

    if core_ml:
        from executorch.backends.apple.coreml.compiler import CoreMLBackend
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner

        from tests.helpers.coreml_programs import ct

        specs = CoreMLBackend.generate_compile_specs(minimum_deployment_target=ct.target.iOS17)
        partitioner: Any = CoreMLPartitioner(compile_specs=specs)
    else:
        from conaclip_edge.export.executorch.partitioner import xnnpack_partitioner

        partitioner = xnnpack_partitioner()
    torch.manual_seed(0)
    tower = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 16)).eval()
    program = torch.export.export(tower, (torch.zeros(1, 3, 8, 8),))
    return bytes(to_edge_transform_and_lower(program, partitioner=[partitioner]).to_executorch().buffer)


def core_ai(path: Path) -> Path:
    """Write a Core AI asset of one linear layer, and return its program."""
    import torch

    from conaclip_edge.export.coreai.asset import PROGRAM, convert, write_asset

    torch.manual_seed(0)
    tower = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 16)).eval()
    program = convert(tower, torch.zeros(1, 3, 8, 8), "pixel_values", "embedding", None)
    write_asset(program, path, "", "", "", {})
    return path / PROGRAM


REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n",
    b"GET /about HTTP/1.1\r\nHost: localhost:8000\r\nAccept: */*\r\nCookie: a=b; c\r\n\r\n",
    b'GET /thumbnail/1?ab12 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nIf-None-Match: "x"\r\n\r\n',
    b'GET /picture/2 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nRange: bytes=0-9,20-30\r\nIf-Range: "x"\r\n\r\n',
    b"HEAD /picture/1 HTTP/1.0\r\nHost: [::1]:8000\r\nConnection: close\r\n\r\n",
    b"POST /search?text=red%20thing+-blue&k=3 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nOrigin: http://127.0.0.1:8000\r\n"
    b"Content-Length: 0\r\n\r\n",
    b"POST /search?like=2&text=-%22green%20thing%22 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: 0\r\n\r\n",
)


def requests() -> list[bytes]:
    """List requests of every kind that the page makes; the last ones bring a picture."""
    picture, head = encoded("GIF"), b"POST /search?text=red HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"
    whole = head + b"Content-Type: image/gif\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(picture), picture)
    return [*REQUESTS, whole, chunked]
