"""Pictures of every awkward kind, and writers of every format that users have."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from conaclip_edge.config.data import DataConfig


class Sample(NamedTuple):
    """A row as a user has it."""

    name: str
    data: bytes
    captions: tuple[str, ...]


Writer = Callable[[Path, Sequence[Sample]], DataConfig]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what readers derive in the test's own folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder))
    return folder


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Pictures whose bytes differ in every way a reader could be tempted to touch, with awkward captions."""
    random = np.random.default_rng(3)
    rgb = Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    palette = rgb.quantize(8)
    turned = Image.Exif()
    turned[0x0112] = 6
    jpeg = encoded(rgb, "JPEG")
    pictures = {
        "grey.jpg": encoded(rgb.convert("L"), "JPEG"),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "palette.png": encoded(palette, "PNG", transparency=bytes(range(0, 256, 32))),
        "turned.jpg": encoded(rgb, "JPEG", exif=turned),
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "no picture.jpg": b"\x00\xff\tnot a picture\r\n",
        "zażółć 猫.webp": encoded(rgb, "WEBP", lossless=True),
    }
    captions = (
        ("a grey thing", "something grey"),
        ("007",),
        ("NA", "null", "2020-01-01"),
        ('he said "turn, please"; it\'s 90°',),
        ("猫がいる", "zażółć gęślą jaźń 🐈\u200d⬛"),
        ("日本語のキャプション",),
        ("l'été\u00a0indien",),
    )
    return [Sample(name, data, texts) for (name, data), texts in zip(pictures.items(), captions, strict=True)]


def put(path: Path, data: bytes | str) -> Path:
    """Write a file whose modification time says nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    os.utime(path, ns=(10**18, 10**18))
    return path


def imagefolder_jsonl(folder: Path, rows: Sequence[Sample]) -> DataConfig:
    for row in rows:
        put(folder / row.name, row.data)
    lines = [json.dumps({"file_name": row.name, "captions": row.captions}) for row in rows]
    put(folder / "metadata.jsonl", "\n".join(lines))
    return DataConfig(format="imagefolder", path=folder)


def imagefolder_csv(folder: Path, rows: Sequence[Sample]) -> DataConfig:
    """A row a caption: a table has no lists."""
    lines = ["file_name,text"]
    for row in rows:
        put(folder / row.name, row.data)
        for caption in row.captions or ("",):
            quoted = caption.replace('"', '""')
            lines.append(f'"{row.name}","{quoted}"')
    put(folder / "metadata.csv", "\r\n".join(lines) + "\r\n")
    return DataConfig(format="imagefolder", path=folder)


def parquet(folder: Path, rows: Sequence[Sample]) -> DataConfig:
    picture = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = {
        "image": pa.array([{"bytes": row.data, "path": row.name} for row in rows], picture),
        "caption": pa.array([list(row.captions) for row in rows], pa.list_(pa.string())),
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.table(table), folder / "0000.parquet", row_group_size=3)
    return DataConfig(format="parquet", path=folder)


def shard(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def webdataset(folder: Path, rows: Sequence[Sample]) -> DataConfig:
    """Shards with the members, and the files beside them, that img2dataset writes; a row a caption."""
    members = []
    for row in rows:
        for caption in row.captions or ("",):
            key = f"00000{len(members) // 3:04d}"
            about = {"caption": caption or None, "url": "https://example.org/a.jpg", "key": key, "status": "success"}
            about |= {"error_message": None, "width": 30, "height": 20, "exif": "{}"}
            extension = row.name.rsplit(".", 1)[1]
            members += [(f"{key}.{extension}", row.data), (f"{key}.json", json.dumps(about).encode())]
            members += [(f"{key}.txt", caption.encode())]
    shard(folder / "00000.tar", members)
    pq.write_table(pa.table({"key": ["000000000"], "status": ["success"]}), folder / "00000.parquet")
    put(folder / "00000_stats.json", "{}")
    return DataConfig(format="webdataset", path=folder)


def karpathy(folder: Path, rows: Sequence[Sample]) -> DataConfig:
    images = []
    (folder / "images").mkdir(parents=True)
    for number, row in enumerate(rows):
        put(folder / "images" / "val2014" / row.name, row.data)
        sentences = [{"raw": text, "tokens": text.split(), "imgid": number, "sentid": 0} for text in row.captions]
        image = {"filepath": "val2014", "filename": row.name, "imgid": number, "split": "restval"}
        images.append(image | {"sentids": [], "sentences": sentences, "cocoid": number})
    path = put(folder / "dataset_coco.json", json.dumps({"images": images, "dataset": "coco"}))
    return DataConfig(format="karpathy", path=path, images=folder / "images")


def coco(folder: Path, rows: Sequence[Sample]) -> DataConfig:
    images, annotations = [], []
    for number, row in enumerate(rows):
        put(folder / "train2017" / row.name, row.data)
        images.append({"id": number, "file_name": row.name, "height": 20, "width": 30, "license": 3})
        annotations += [{"image_id": number, "id": 7, "caption": text} for text in row.captions]
    document = {"info": {}, "licenses": [], "images": images, "annotations": annotations}
    put(folder / "annotations" / "captions_train2017.json", json.dumps(document))
    return DataConfig(format="coco", path=folder)


def easynlp(folder: Path, rows: Sequence[Sample]) -> DataConfig:
    lines = []
    for row in rows:
        text = base64.b64encode(row.data).decode()
        lines += [f"{caption}\t{text}\n" for caption in row.captions or ("",)]
    put(folder / "train.tsv", "".join(lines))
    return DataConfig(format="easynlp", path=folder)


WRITERS: dict[str, Writer] = {
    "imagefolder (jsonl)": imagefolder_jsonl,
    "imagefolder (csv)": imagefolder_csv,
    "parquet": parquet,
    "webdataset": webdataset,
    "karpathy": karpathy,
    "coco": coco,
    "easynlp": easynlp,
}


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest) -> Writer:
    """The writer of each format in turn."""
    return WRITERS[request.param]


@pytest.fixture
def writers() -> dict[str, Writer]:
    """The writers by name."""
    return WRITERS
