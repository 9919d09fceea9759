"""Parsers of what comes in a bundle: its files, exported towers, Core ML packages and ExecuTorch programs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.security import seeds
from tests.security.subject import Subject, all_of


def bundle_file(file: str, *more: bytes) -> Callable[[], Subject]:
    """A file of a bundle, in one that fits it otherwise: its members are hashed again, as whoever changed it could."""

    def make() -> Subject:
        from conaclip_edge.bundle.verify import require_ok, verify_bundle, verify_table
        from conaclip_edge.search.commands import index_pictures
        from conaclip_edge.search.query import open_searcher, parse_query

        bundle, index = seeds.bundle(Path("bundle")), Path("index")
        index_pictures(bundle, seeds.picture_folder(Path("pictures")), index)
        path, manifest = bundle / file, (bundle / "manifest.json").read_bytes()

        def verify() -> None:
            report = verify_bundle(bundle)
            assert verify_table(report)
            require_ok(report)

        def search() -> None:
            searcher = open_searcher(index, bundle)
            searcher.search(parse_query(searcher.correct("red -blue")), 2)

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
        from conaclip_edge.bundle.embeddings import embed_pixels
        from conaclip_edge.runtime.open_tower import open_tower

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
    """An ExecuTorch program, run as `verify` does."""

    def make() -> Subject:
        # to make one takes half a minute
        data = seeds.executorch(core_ml) if core_ml else Path(__file__).with_name("linear.pte").read_bytes()
        return Subject("a.pte", [data], _run_apart(Path("a.pte")))

    return make


def asset() -> Subject:
    """The program of a Core AI asset, by somebody who writes its hash as well, run as `verify` does."""
    program, stored = seeds.core_ai(Path("a.aimodel")), Path("a.aimodel/main.hash")
    run = _run_apart(Path("a.aimodel"))

    def read() -> None:
        stored.write_bytes(hashlib.sha256(program.read_bytes()).digest())
        run()

    return Subject(str(program), [program.read_bytes()], read)


def _run_apart(path: Path) -> Callable[[], None]:
    """Prepare what runs a tower as `verify` does: in a process of its own, here a fork of one that is prepared."""
    import multiprocessing
    from multiprocessing.forkserver import ensure_running
    from unittest.mock import patch

    from conaclip_edge.bundle.verify import embed_golden
    from conaclip_edge.system import processes as side_by_side
    from tests.security.limits import limited_memory

    pixels = np.zeros((1, 3, 8, 8), np.uint8)
    multiprocessing.set_forkserver_preload(["torch", "conaclip_edge.bundle.verify"])
    with limited_memory():
        ensure_running()

    def run() -> None:
        with patch.object(side_by_side, "START", "forkserver"):
            embed_golden(path, pixels, 0)

    return run


def onnx_file() -> bytes:
    """The image tower of the small bundle."""
    from tests.helpers.search.small_index import write_bundle

    return (write_bundle(Path("whole")) / "onnx/image.int8.onnx").read_bytes()
