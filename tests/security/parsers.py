"""Everything in the package that reads what others wrote: where its bytes lie, and how a command reads them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import seeds

from conaclip_edge.errors import ConaclipError, UserError

LONGEST = 2000  # characters of an error


class Subject(NamedTuple):
    """A parser in a folder that was prepared for it.

    Attributes:
        file: where its bytes go, relative to the folder.
        seeds: valid bytes.
        read: reads what lies there, with the folder as the current one.
    """

    file: str
    seeds: list[bytes]
    read: Callable[[], object]


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


def outcome(subject: Subject, data: bytes) -> str:
    """Read some bytes in the current folder; return the error's text, "" where there is none.

    Raises:
        AssertionError: the text is not one printable line.
        BaseException: what the parser raises and should not.
    """
    file = Path(subject.file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    try:
        subject.read()
    except ConaclipError as error:
        text = re.sub("[0-9a-f]{32,}", "HASH", str(error).replace(os.getcwd(), "HERE"))
        assert text, "the error has no text"
        assert text.isprintable(), f"the error is not one printable line: {text!r}"
        assert len(text) < LONGEST, f"the error has {len(text)} characters"
        return text
    return ""


def all_of(*calls: Callable[[], object], enough: int | None = None) -> None:
    """Make all calls, each of which may end in an error; raise the first one if under `enough` (all) gave a result."""
    errors: list[ConaclipError] = []
    for call in calls:
        try:
            call()
        except ConaclipError as error:
            errors.append(error)
    if len(calls) - len(errors) < (enough or len(calls)):
        raise errors[0]


def _recipes(path: Path | None, settings: list[str]) -> None:
    from conaclip_edge.export.targets import export_configs
    from conaclip_edge.recipes import benchmark_suite, data_config, distill_recipe, study_recipe, teacher_recipe

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
        "data.path=a/b",
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
        from conaclip_edge.config import DataConfig
        from conaclip_edge.data.preprocess import BadPicture
        from conaclip_edge.data.read import read_pairs

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


def bundle_file(file: str, *more: bytes) -> Callable[[], Subject]:
    """A file of a bundle, in one that fits it otherwise: its members are hashed anew, as whoever changed it could."""

    def make() -> Subject:
        from conaclip_edge.export.verify import require_ok, verify_bundle, verify_table
        from conaclip_edge.files import read_json
        from conaclip_edge.retrieval.command import index_pictures
        from conaclip_edge.retrieval.search import open_searcher, parse_query
        from conaclip_edge.retrieval.spelling import speller, whole_words

        bundle, index = seeds.bundle(Path("bundle")), Path("index")
        index_pictures(bundle, seeds.picture_folder(Path("pictures")), index, None, None, False)
        path, manifest = bundle / file, (bundle / "manifest.json").read_bytes()

        def verify() -> None:
            report = verify_bundle(bundle)
            assert verify_table(report)
            require_ok(report)

        def search() -> None:
            words = whole_words(read_json(bundle / "tokenizer.json", "tokenizer"))
            open_searcher(index, bundle).search(parse_query(speller(words)("red -blue")), 2)

        def read() -> None:
            if path.name != "manifest.json":
                (bundle / "manifest.json").write_bytes(manifest)
            seal(path.name != "manifest.json")
            all_of(verify, search)

        def seal(hash_members: bool) -> None:
            seeds.seal(bundle, hash_members)

        return Subject(str(path), [path.read_bytes(), *more], read)

    return make


def tokenizer() -> Subject:
    """tokenizer.json of a bundle."""
    return bundle_file("tokenizer.json", *seeds.tokenizers())()


def tower_file(file: str, write: Callable[[], object]) -> Callable[[], Subject]:
    """An exported tower, or a file of its package, which is opened and run."""

    def make() -> Subject:
        from conaclip_edge.export.parity import embed_pixels
        from conaclip_edge.runtime.tower import open_tower

        made = write()
        if isinstance(made, bytes):
            Path(file).write_bytes(made)
        pixels = np.zeros((1, 3, 8, 8), np.uint8)
        top = Path(Path(file).parts[0])
        whole = {path: path.read_bytes() for path in top.rglob("*") if path.is_file()}

        def read() -> None:
            for path, data in whole.items():  # a run may leave files behind
                if path != Path(file):
                    path.write_bytes(data)
            embed_pixels(open_tower(top), pixels, "tower")

        return Subject(file, [Path(file).read_bytes()], read)

    return make


def package_file(file: str) -> Callable[[], Subject]:
    """A file of a Core ML package, which the reference interpreter runs."""
    return tower_file(f"a.mlpackage/{file}", lambda: seeds.core_ml(Path("a.mlpackage")))


def program(core_ml: bool) -> Callable[[], Subject]:
    """An ExecuTorch program, run as `verify` does: in a process of its own, here a fork of one that is prepared."""

    def make() -> Subject:
        import multiprocessing
        from multiprocessing.forkserver import ensure_running
        from unittest.mock import patch

        from limits import limited_memory

        from conaclip_edge import side_by_side
        from conaclip_edge.export.verify import embed_golden

        # to make one takes half a minute
        data = seeds.executorch(core_ml) if core_ml else Path(__file__).with_name("linear.pte").read_bytes()
        pixels = np.zeros((1, 3, 8, 8), np.uint8)
        multiprocessing.set_forkserver_preload(["torch", "conaclip_edge.export.verify"])
        with limited_memory():
            ensure_running()

        def read() -> None:
            with patch.object(side_by_side, "START", "forkserver"):
                embed_golden(Path("a.pte"), pixels, 0, 1)

        return Subject("a.pte", [data], read)

    return make


def onnx_file() -> bytes:
    """The image tower of the small bundle."""
    from small_index import write_bundle

    return (write_bundle(Path("whole")) / "onnx/image.int8.onnx").read_bytes()


def index_file(pattern: str) -> Subject:
    """A file of an index that has a graph: it is searched, and brought up to date."""
    import sqlite3

    from conaclip_edge.retrieval import update
    from conaclip_edge.retrieval.command import index_pictures
    from conaclip_edge.retrieval.search import open_searcher, parse_query

    bundle, pictures, index = seeds.bundle(Path("bundle")), seeds.picture_folder(Path("pictures")), Path("index")
    waiting, update.WAITING = update.WAITING, 0  # three pictures are enough for a graph
    try:
        index_pictures(bundle, pictures, index, None, None, False)
    finally:
        update.WAITING = waiting
    connection = sqlite3.connect(index / "pictures.sqlite")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    whole = {path: path.read_bytes() for path in index.iterdir() if path.suffix in (".sqlite", ".usearch")}
    (changed,) = index.glob(pattern)

    def update_index() -> None:
        index_pictures(bundle, pictures, index, None, None, False)

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
        from conaclip_edge.models.checkpoint import load_student

        if clip:
            import tiny

            tiny.teacher_folder(Path("student"))
        else:
            import json

            from small_students import student
            from worlds import tokenizer_json

            from conaclip_edge.models.checkpoint import save_student

            save_student(student(), json.loads(tokenizer_json()), {"recipe": {}}, Path("student"))
        path = Path("student") / file
        return Subject(str(path), [path.read_bytes()], lambda: load_student(Path("student")))

    return make


def cache_shard() -> Subject:
    """A shard of a teacher's embeddings."""
    from tiny import PixelTeacher

    from conaclip_edge.config import DataConfig
    from conaclip_edge.data.read import read_pairs
    from conaclip_edge.models.embeddings import teacher_cache

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
    from wire import Server

    from conaclip_edge.retrieval.command import index_pictures
    from conaclip_edge.retrieval.search import open_searcher
    from conaclip_edge.serve.app import make_app

    bundle = seeds.bundle(Path("bundle"))
    index_pictures(bundle, seeds.picture_folder(Path("pictures")), Path("index"), None, None, False)
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
    "index": Parser(lambda: index_file("pictures.sqlite"), "sqlite", 60),
    "graph": Parser(lambda: index_file("graph-*.usearch"), "bytes", 25),
    "checkpoint-config": Parser(checkpoint_file("config.json"), "json", 60),
    "checkpoint-weights": Parser(checkpoint_file("model.safetensors"), "safetensors", 60),
    "checkpoint-clip": Parser(checkpoint_file("config.json", clip=True), "json", 40),
    "cache-shard": Parser(cache_shard, "safetensors", 100),
    "http": Parser(http, "text", 150, pure=True),
}
