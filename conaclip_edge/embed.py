"""Embeddings of a whole data set as files that vector databases load, in the layout of clip-retrieval.

    img_emb/img_emb_0.npy     float32 [n, d]: a row per usable picture of shard 0
    metadata/metadata_0.parquet           its rows: image_path, caption (the first, or null), split
    text_emb/text_emb_0.npy   float32 [m, d]: a row per caption of these pictures
    text_metadata/text_metadata_0.parquet its rows: caption, image_path

A shard's metadata is written last, so a shard that has it is whole: a killed run goes on, and several processes or
machines may share a folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL.Image import Image

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.load import data_config
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.usable import check_left_out, reasons, usable_pictures
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.evaluation.encoders import open_encoder
from conaclip_edge.system.arguments import worker_part
from conaclip_edge.system.extras import extras_needed
from conaclip_edge.system.files import atomic_file, read_json, sha256_file, sha256_text, write_json
from conaclip_edge.system.products import EMBEDDINGS, check_out
from conaclip_edge.system.progress import track
from conaclip_edge.system.result import Result

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_PICTURES = 4096
RECORD = "embed.json"
SCHEMA = "conaclip-edge/embed/1"


class EmbedRecord(Result):
    """What the shards of a folder have in common: content of embed.json.

    Attributes:
        schema_id: of this document.
        model: its name and kind.
        model_fingerprint: hash of its weights or its manifest.
        data: name of the data set.
        data_fingerprint: of its pictures and captions.
        pictures: of the data set, broken ones included.
        shards: of the whole data set.
    """

    schema_id: str = SCHEMA
    model: str
    model_fingerprint: str
    data: str
    data_fingerprint: str
    pictures: int
    shards: int


class EmbedReport(Result):
    """What `embed` did.

    Attributes:
        out: the folder.
        record: what all shards share.
        there: shards that are whole, now.
        written: of them, by this call.
        left_out: pictures of this call's shards that cannot be used, as "key: reason".
    """

    out: Path
    record: EmbedRecord
    there: int
    written: int
    left_out: tuple[str, ...]


@extras_needed()
def embed(model: Path, data: Path, out: Path, worker: str | None = None, target: str = "onnx") -> EmbedReport:
    """Embed all pictures and captions of a data set into a folder.

    Args:
        model: folder of a teacher, a checkpoint or a bundle.
        data: recipe or picture folder.
        out: the folder; shards that are there already are kept.
        worker: "I/N": only every N-th shard, from the I-th on; None: all.
        target: for a bundle, which of its targets.

    Raises:
        UserError: no such model or data, too many broken pictures, or `out` holds embeddings of another model or data.
        NotInstalled: pyarrow is not there.
    """
    import pyarrow  # noqa: F401  # asked for before any work

    part, parts = worker_part(worker)
    check_out(out, EMBEDDINGS)
    config = data_config(data)
    pairs = read_pairs(config, captions_needed=False)
    encoder = open_encoder(model, target)
    starts = range(0, len(pairs), SHARD_PICTURES)
    record = EmbedRecord(
        model=encoder.name,
        model_fingerprint=_fingerprint(model, target),
        data=pairs.name,
        data_fingerprint=pairs.fingerprint,
        pictures=len(pairs),
        shards=len(starts),
    )
    _keep(record, out)
    left_out: dict[str, str] = {}
    missing = [number for number in range(part - 1, len(starts), parts) if not _finished(out, number)]
    for number in track(missing, "embedding shards"):
        rows = range(starts[number], min(starts[number] + SHARD_PICTURES, len(pairs)))
        _write_shard(encoder, pairs, rows, number, out, config, left_out)
    check_left_out(reasons(left_out), len(missing) * SHARD_PICTURES, config.max_bad, pairs.name)
    there = sum(_finished(out, number) for number in range(len(starts)))
    return EmbedReport(out=out, record=record, there=there, written=len(missing), left_out=tuple(reasons(left_out)))


def _fingerprint(model: Path, target: str) -> str:
    """Hash what makes embeddings differ: a bundle's manifest and target, or the weights of a model."""
    manifest = model / "manifest.json"
    if manifest.is_file():
        return sha256_text(sha256_file(manifest), target)
    return sha256_text(*(sha256_file(file) for file in sorted(model.glob("*.safetensors"))))


def embed_text(report: EmbedReport) -> str:
    """Format for a terminal what is there."""
    left = report.record.shards - report.there
    state = "complete" if not left else f"{left} are other workers' or missing"
    return f"{report.out}: {report.written} of {report.record.shards} shards written now, {state}"


def _keep(record: EmbedRecord, out: Path) -> None:
    """Write embed.json, or refuse a folder that holds other embeddings."""
    file = out / RECORD
    if file.is_file():
        if read_json(file, "record of embeddings") != record.model_dump(mode="json"):
            raise UserError(
                f"{out} holds embeddings of another model or of other data. Name another folder with --out."
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    write_json(file, record.model_dump(mode="json"))


def _finished(out: Path, number: int) -> bool:
    return _file(out, "metadata", number, "parquet").is_file()


def _file(out: Path, name: str, number: int, suffix: str) -> Path:
    return out / name / f"{name}_{number}.{suffix}"


def _write_shard(
    encoder: Encoder, pairs: Pairs, rows: range, number: int, out: Path, config: DataConfig, left_out: dict[str, str]
) -> None:
    import pyarrow as pa

    kept: list[int] = []

    def pictures() -> Iterator[Image]:
        for row, _, picture in usable_pictures(pairs, rows, config.max_pixels, left_out):
            kept.append(row)
            yield picture

    embedded = encoder.embed_images(pictures())
    captions = [(text, pairs.keys[row]) for row in kept for text in pairs.captions[row]]
    _save_rows(embedded, out, "img_emb", number)
    _save_rows(encoder.embed_texts(text for text, _ in captions), out, "text_emb", number)
    texts = {"caption": [text for text, _ in captions], "image_path": [key for _, key in captions]}
    _save_table(pa.table(texts, schema=_schema("caption", "image_path")), out, "text_metadata", number)
    columns = {
        "image_path": [pairs.keys[row] for row in kept],
        "caption": [next(iter(pairs.captions[row]), None) for row in kept],
        "split": [pairs.splits[row] for row in kept],
    }
    # last: a shard that has it is whole
    _save_table(pa.table(columns, schema=_schema("image_path", "caption", "split")), out, "metadata", number)


def _schema(*names: str) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, pa.string()) for name in names])


def _save_rows(vectors: np.ndarray, out: Path, name: str, number: int) -> None:
    file = _file(out, name, number, "npy")
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as temporary, open(temporary, "wb") as handle:
        np.save(handle, vectors.astype(np.float32))


def _save_table(table: pa.Table, out: Path, name: str, number: int) -> None:
    import pyarrow.parquet as pq

    file = _file(out, name, number, "parquet")
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as temporary:
        pq.write_table(table, temporary)
