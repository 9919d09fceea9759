"""Everything in the package that reads what others wrote: where its bytes lie, and how a command reads them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from conaclip_edge.errors import UserError
from tests.security import seeds
from tests.security.bundle_parsers import asset, bundle_file, onnx_file, package_file, program, tokenizer, tower_file
from tests.security.subject import LONGEST, Subject, all_of


class Parser(NamedTuple):
    """How to fuzz a parser.

    Attributes:
        make: prepares the current folder, which is empty.
        kind: of the changes (see `changes.WAYS`).
        examples: how many the tests try.
        pure: it is mostly Python, which an engine can look into.
        native: it is a runtime in C++ that may end the process over ill-made bytes; the tests leave it to the long run.
    """

    make: Callable[[], Subject]
    kind: str
    examples: int
    pure: bool = False
    native: bool = False


def _recipes(path: Path | None, settings: list[str]) -> None:
    from conaclip_edge.config.load import benchmark_suite, data_config, distill_recipe, study_recipe, teacher_recipe
    from conaclip_edge.export.targets import export_configs

    kinds = (distill_recipe, teacher_recipe, study_recipe, benchmark_suite)
    calls = [lambda kind=kind: kind(path, settings) for kind in kinds]
    calls.append(lambda: export_configs(str(path) if path else "onnx", settings))
    if path:
        calls.append(lambda: data_config(path))
    all_of(*calls, enough=1)


def recipe() -> Subject:
    """Recipes, targets and suites."""
    top = Path(__file__).parents[2]
    places = ("distill/recipes", "export/targets", "benchmarks/suites")
    files = [file for place in places for file in sorted((top / place).glob("*.yaml"))]
    found = [file.read_bytes() for file in files]
    return Subject("recipe.yaml", found, lambda: _recipes(Path("recipe.yaml"), []))


def setting() -> Subject:
    """A value of --set."""

    def read() -> None:
        _recipes(None, [os.fsdecode(Path("setting").read_bytes())])

    texts = [
        "train.steps=100",
        "data.fold=1",
        "student.image={size: 32, stages: [[1, 2, 3, 4, 5]]}",
        "name=x",
        "seed=7",
    ]
    texts += [
        "graph.terms=[{edge: SI-TI, loss: kl, weight: 0.5}]",
        "precision=int8",
        "rounds.warmup=3",
        "threads=[1, 0]",
    ]
    return Subject("setting", [text.encode() for text in texts], read)


def pairs_of(kind: str, file: str, write: Callable[[], bytes]) -> Callable[[], Subject]:
    """A data set of some format whose table is changed."""

    def read() -> None:
        from conaclip_edge.config.data import DataConfig
        from conaclip_edge.data.load import read_pairs
        from conaclip_edge.data.preprocess import BadPicture

        os.environ["HF_DATASETS_CACHE"] = str(Path("cache").absolute())
        shutil.rmtree("cache", ignore_errors=True)
        for _ in range(2):  # the second time from the index
            pairs = read_pairs(DataConfig(format=kind, path=Path(file).parent, max_bad=1))
            assert pairs.fingerprint
            for row in range(min(len(pairs), 20)):
                with suppress(BadPicture, OSError):  # what all users of pairs leave a picture out for
                    pairs.read(row)

    def make() -> Subject:
        seeds.picture_folder(Path(file).parent)
        return Subject(file, [write()], read)

    return make


def picture() -> Subject:
    """An encoded picture."""
    from conaclip_edge.data.preprocess import BadPicture, decode, pixel_values

    def read() -> None:
        data = Path("picture").read_bytes()
        try:
            assert decode(data).mode == "RGB"
            assert np.isfinite(pixel_values(data, 8)).all()
        except BadPicture as error:
            raise UserError(str(error)) from error

    return Subject("picture", seeds.pictures(), read)


def index_file(pattern: str) -> Subject:
    """A file of an index that has a graph: it is searched, and brought up to date."""
    import sqlite3

    from conaclip_edge.search.commands import index_pictures
    from conaclip_edge.search.query import open_searcher, parse_query
    from conaclip_edge.search.update import open_writer

    bundle, pictures, index = seeds.bundle(Path("bundle")), seeds.picture_folder(Path("pictures")), Path("index")
    with open_writer(bundle, pictures, index, waiting=0) as writer:  # three pictures are enough for an HNSW graph
        writer.update()
    connection = sqlite3.connect(index / "pictures.sqlite")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    whole = {path: path.read_bytes() for path in index.iterdir() if path.suffix in (".sqlite", ".usearch")}
    (changed,) = index.glob(pattern)

    def update_index() -> None:
        index_pictures(bundle, pictures, index)

    def search() -> None:
        searcher = open_searcher(index, bundle)
        searcher.search(parse_query("red thing"), 2)
        assert len(searcher.index) >= 0
        for key in (0, 1, 2**62):
            searcher.index.path(key)
        searcher.index.vectors()
        searcher.index.close()

    def read() -> None:
        data = changed.read_bytes()

        def fresh(call: Callable[[], object]) -> None:
            for path in index.iterdir():
                path.unlink(missing_ok=True)  # a search that failed leaves its connection to the garbage collector
            for path, content in (whole | {changed: data}).items():
                path.write_bytes(content)
            call()

        all_of(lambda: fresh(search), lambda: fresh(update_index))

    return Subject(str(changed), [whole[changed]], read)


def checkpoint_file(file: str, clip: bool = False) -> Callable[[], Subject]:
    """A file of a student's checkpoint, or of a plain CLIP folder."""

    def make() -> Subject:
        from conaclip_edge.models.student.checkpoint import load_student

        if clip:
            from tests.helpers import tiny

            tiny.teacher_folder(Path("student"))
        else:
            import json

            from conaclip_edge.models.student.checkpoint import save_student
            from tests.helpers.bar_pictures import tokenizer_json
            from tests.helpers.small_students import student

            save_student(student(), json.loads(tokenizer_json()), {"recipe": {}}, Path("student"))
        path = Path("student") / file
        return Subject(str(path), [path.read_bytes()], lambda: load_student(Path("student")))

    return make


def cache_shard() -> Subject:
    """A shard of a teacher's embeddings."""
    from conaclip_edge.config.data import DataConfig
    from conaclip_edge.data.load import read_pairs
    from conaclip_edge.teacher_cache.store import teacher_cache
    from tests.helpers.tiny import PixelTeacher

    folder = seeds.picture_folder(Path("data"))
    (folder / "metadata.jsonl").write_bytes(seeds.json_lines())
    (folder / "broken.png").write_bytes(b"x")
    with (folder / "metadata.jsonl").open("ab") as file:
        file.write(b'\n{"file_name": "broken.png", "text": "x"}')
    os.environ["HF_DATASETS_CACHE"] = str(Path("cache").absolute())
    pairs = read_pairs(DataConfig(format="imagefolder", path=folder))
    teacher = PixelTeacher()

    def read() -> None:
        cache = teacher_cache(pairs, teacher, Path("embeddings"), max_bad=1)
        assert len(cache.pictures(np.arange(len(pairs)))) == len(pairs)
        assert len(cache.texts(np.arange(int(cache.first_text[-1])))) == cache.first_text[-1]

    read()
    (shard,) = Path("embeddings").rglob("pictures-0-*.safetensors")
    return Subject(str(shard), [shard.read_bytes()], read)


def http() -> Subject:
    """What a client sends to the server of an index."""
    from conaclip_edge.search.commands import index_pictures
    from conaclip_edge.search.query import open_searcher
    from conaclip_edge.web.server.app import make_app
    from tests.security.wire import Server

    bundle = seeds.bundle(Path("bundle"))
    index_pictures(bundle, seeds.picture_folder(Path("pictures")), Path("index"))
    server = Server(make_app(open_searcher(Path("index")), bundle, "127.0.0.1"))

    def read() -> None:
        for status, body in server.answers(Path("request").read_bytes()):
            assert status < 500, f"status {status}: {body[:200]!r}"
            if status >= 400:
                assert len(body) < LONGEST, f"an error of {len(body)} bytes"
                raise UserError(f"{status} {body.decode()}")

    return Subject("request", seeds.requests(), read)


PARSERS: dict[str, Parser] = {
    "recipe": Parser(recipe, "yaml", 60, pure=True),
    "setting": Parser(setting, "yaml", 60, pure=True),
    "karpathy": Parser(pairs_of("karpathy", "data/dataset_coco.json", seeds.karpathy), "json", 150, pure=True),
    "coco": Parser(pairs_of("coco", "data/captions_train2017.json", seeds.coco), "json", 150, pure=True),
    "easynlp": Parser(pairs_of("easynlp", "data/train.tsv", seeds.easynlp), "text", 150, pure=True),
    "jsonl": Parser(pairs_of("imagefolder", "data/metadata.jsonl", seeds.json_lines), "json lines", 150, pure=True),
    "csv": Parser(pairs_of("imagefolder", "data/metadata.csv", seeds.csv_table), "text", 150, pure=True),
    "parquet": Parser(pairs_of("parquet", "data/0.parquet", seeds.parquet), "bytes", 30),
    "webdataset": Parser(pairs_of("webdataset", "data/0.tar", seeds.shard), "tar", 30),
    "picture": Parser(picture, "picture", 300),
    "manifest": Parser(bundle_file("manifest.json"), "json", 100, pure=True),
    "golden": Parser(bundle_file("golden/golden.json"), "json", 60, pure=True),
    "golden-tensors": Parser(bundle_file("golden/golden.safetensors"), "safetensors", 60),
    "tokenizer": Parser(tokenizer, "json", 100),
    "mlpackage-manifest": Parser(package_file("Manifest.json"), "json", 40),
    "mlpackage-model": Parser(package_file("Data/com.apple.CoreML/model.mlmodel"), "protobuf", 80),
    "mlpackage-weights": Parser(package_file("Data/com.apple.CoreML/weights/weight.bin"), "bytes", 40),
    "onnx": Parser(tower_file("a.onnx", onnx_file), "protobuf", 100),
    "pte": Parser(program(core_ml=False), "bytes", 40),
    "pte-coreml": Parser(program(core_ml=True), "bytes", 0, native=True),
    "aimodel": Parser(asset, "bytes", 0, native=True),
    "index": Parser(lambda: index_file("pictures.sqlite"), "sqlite", 60),
    "graph": Parser(lambda: index_file("graph-*.usearch"), "bytes", 25),
    "checkpoint-config": Parser(checkpoint_file("config.json"), "json", 60),
    "checkpoint-weights": Parser(checkpoint_file("model.safetensors"), "safetensors", 60),
    "checkpoint-clip": Parser(checkpoint_file("config.json", clip=True), "json", 40),
    "cache-shard": Parser(cache_shard, "safetensors", 100),
    "http": Parser(http, "text", 150, pure=True),
}
