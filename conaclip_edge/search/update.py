"""Bringing an index up to date with a folder: new and changed pictures are encoded, removed ones dropped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conaclip_edge.bundle.open import Bundle, open_bundle
from conaclip_edge.data.preprocess import MAX_PIXELS, BadPicture
from conaclip_edge.errors import UserError
from conaclip_edge.search.calibrate import calibrate
from conaclip_edge.search.folder.checks import check_same, check_there, kept_text, make_folder, move
from conaclip_edge.search.folder.picture_folder import PictureFile, Walk, pixels, read, walk
from conaclip_edge.search.hits.folding import look_of
from conaclip_edge.search.hnsw_graph import (
    DEFAULT,
    check_precision,
    damage,
    empty_hnsw,
    extend,
    open_hnsw,
    save_hnsw,
)
from conaclip_edge.search.index import hnsw_file, written_file
from conaclip_edge.search.query import check_space
from conaclip_edge.search.report import BrokenPicture, IndexReport
from conaclip_edge.search.sqlite_checks import only_writer
from conaclip_edge.search.sqlite_store import (
    Entry,
    Seen,
    Sidecar,
    make_sidecar,
    open_sidecar,
    unmade,
)
from conaclip_edge.system.progress import track

BATCH = 64  # pictures per transaction: what a crash can lose
WAITING = 256  # pictures, and 1 in 200 of the HNSW graph's, may wait for it; until then they are compared one by one
_AWAY = (
    "holds nothing any more; its pictures are kept, it may be a drive that is not there. Forget them: --drop-missing"
)


@dataclass(frozen=True)
class Writer:
    """An index opened for writing, with the image tower. Make it by `open_writer`.

    Attributes:
        sidecar: of the index.
        pictures: folder of the pictures, absolute.
        encode: encoded picture -> vector float32 [d] and what the picture looks like.
        workers: pictures that are encoded side by side.
        towers: the bundle, whose text tower calibrates the cut-off.
        batch: pictures per transaction.
        waiting: pictures that may wait for the HNSW graph.
    """

    sidecar: Sidecar
    pictures: Path
    encode: Callable[[bytes], tuple[np.ndarray, bytes]]
    workers: int
    towers: Bundle
    batch: int = BATCH
    waiting: int = WAITING

    def update(self, again: bool = True, drop_missing: bool = False) -> IndexReport:
        """Bring the index up to date.

        Args:
            again: try files that could not be read before, even unchanged ones: a right, a decoder or a drive that
                was missing may be there now.
            drop_missing: forget the pictures of folders that are empty, and of links that lead nowhere, too.

        Raises:
            UserError: no picture in the folder, or the folder vanished; what was encoded is kept.
        """
        began = time.monotonic()
        seen = self.sidecar.files()
        listed = walk(self.pictures)
        if not listed.files:
            raise UserError(f"no picture in {self.pictures} or the folders in it.{kept_text(self.sidecar)}")
        todo = [file for file in listed.files if _changed(file, seen.get(file.path), again)]
        encoded = reused = 0
        gone: set[str] = set()
        batches = [todo[start : start + self.batch] for start in range(0, len(todo), self.batch)]
        with ThreadPoolExecutor(self.workers) as pool:
            for batch in track(batches, f"indexing {len(todo)} pictures in batches"):
                results = list(pool.map(lambda file: self._entry(file, seen.get(file.path)), batch))
                self.sidecar.write(entry for entry, _ in results if entry)
                encoded += sum(fresh for _, fresh in results)
                reused += sum(1 for entry, fresh in results if entry and not fresh and not entry.reason)
                gone |= {file.path for file, (entry, _) in zip(batch, results, strict=True) if entry is None}
        self._require_folder()
        away = [] if drop_missing else [path for path in listed.away if any(one.startswith(path) for one in seen)]
        dropped = _removed(seen, listed, gone, (*listed.unreadable, *away))
        self.sidecar.drop(dropped)
        self.fold()
        calibrate(self.sidecar, self.towers)
        broken = {**self.sidecar.broken(), **listed.unreadable, **dict.fromkeys(away, _AWAY)}
        return IndexReport(
            index=str(self.sidecar.folder),
            pictures=len(self.sidecar),
            encoded=encoded,
            reused=reused,
            dropped=sum(seen[path].key is not None for path in dropped),
            broken=tuple(BrokenPicture(path=path, reason=reason) for path, reason in broken.items()),
            passed_over=dict(sorted(listed.passed_over.items())),
            seconds=round(time.monotonic() - began, 3),
        )

    def fold(self) -> None:
        """Take waiting pictures into the HNSW graph if they are many; build a new one after damage or many removals."""
        meta, folder = self.sidecar.meta(), self.sidecar.folder
        generation, nodes, last = (int(meta[name]) for name in ("generation", "graph_nodes", "graph_last"))
        file, precision = hnsw_file(folder, generation), meta["vectors"]
        kept = self.sidecar.count_up_to(last)
        sound = meta["graph_vectors"] == precision and file.is_file() and not damage(file, written_file(meta))
        rebuild = nodes > 0 and (not sound or nodes - kept > nodes // 10)
        if not rebuild and len(self.sidecar) - kept <= max(self.waiting, nodes // 200):
            return
        if rebuild or not nodes:
            last, hnsw = 0, empty_hnsw(int(meta["dim"]), precision)
        else:
            hnsw = open_hnsw(file, written_file(meta), view=False)
        extend(hnsw, precision, self.sidecar.chunks(last))
        new = hnsw_file(folder, generation + 1)
        saved = save_hnsw(hnsw, new)
        self.sidecar.set_meta(
            generation=generation + 1,
            graph_size=saved.size,
            graph_sha256=saved.sha256,
            graph_nodes=len(hnsw),
            graph_last=self.sidecar.newest(),
            graph_vectors=precision,
        )
        for old in folder.glob("graph-*.usearch"):
            if old != new:
                with suppress(OSError):  # a system may refuse while a reader has it open; the next time it goes
                    old.unlink()

    def _require_folder(self) -> None:
        """Tell a folder that vanished, as that of a drive does, from one whose pictures were removed."""
        if not self.pictures.is_dir():
            raise UserError(
                f"folder {self.pictures} vanished while it was read; the {len(self.sidecar)} pictures that are indexed "
                "are kept. Bring it back and run the same command again."
            )

    def _entry(self, file: PictureFile, seen: Seen | None) -> tuple[Entry | None, bool]:
        """Return what to record of a file, None if it vanished, and whether the tower had to run."""
        stamps = (file.path, file.mtime_ns, file.size)
        try:
            data, sha256 = read(self.pictures / file.path)
        except FileNotFoundError:
            self._require_folder()
            return None, False
        except OSError as error:
            return Entry(*stamps, reason=f"cannot be read ({error.strerror})"), False
        except BadPicture as error:
            return Entry(*stamps, reason=str(error)), False
        if seen is not None and seen.key is not None and self.sidecar.sha256_of(seen.key) == sha256:
            return Entry(*stamps, sha256), False
        known = self.sidecar.vector_of(sha256)
        if known is not None:
            return Entry(*stamps, sha256, known, look=self.sidecar.look_of(sha256)), False
        try:
            vector, look = self.encode(data)
            return Entry(*stamps, sha256, vector, look=look), True
        except BadPicture as error:
            way_out = ". Raise it: --max-pixels" if "max_pixels" in str(error) else ""
            return Entry(*stamps, reason=f"{error}{way_out}"), False


@contextmanager
def open_writer(
    bundle: Path,
    pictures: Path,
    out: Path,
    target: str | None = None,
    vectors: str | None = None,
    batch: int = BATCH,
    waiting: int = WAITING,
    max_pixels: int | None = None,
    moved_to: Path | None = None,
) -> Iterator[Writer]:
    """Open an index for writing, or make it.

    Args:
        bundle: its image tower encodes the pictures.
        pictures: the folder.
        out: folder of the index.
        target: of the bundle; None takes the index's, onnx for a new one.
        vectors: how the HNSW graph stores them; None takes the index's, i8 for a new one.
        max_pixels: larger pictures are left out; None takes the index's, the default limit for a new one.
        moved_to: where the folder of the pictures is now; None where it did not move.
        batch: pictures per transaction.
        waiting: pictures that may wait for the HNSW graph.

    Raises:
        UserError: another writer, no bundle, one of another embedding space, or an index of another folder.
    """
    if vectors is not None:
        check_precision(vectors)
    if not (bundle / "manifest.json").is_file():
        raise UserError(f"no bundle at {bundle}. Make one: conaclip-edge export --target all")
    pictures = (moved_to or pictures).resolve()
    check_there(pictures, out)
    make_folder(out)
    with only_writer(out):
        new = unmade(out)
        if new and moved_to:
            raise UserError(f"no index at {out}, so nothing moved. Leave --moved-to out to make one.")
        sidecar = None if new else open_sidecar(out)
        if sidecar is not None and moved_to:
            move(sidecar, pictures, out)
        meta = {} if sidecar is None else sidecar.meta()  # an empty one counts as false
        check_same(pictures, meta, out)
        if target and meta.get("target", target) != target:
            raise UserError(f"index {out} was encoded by {meta['target']}, not by {target}. Choose another --out.")
        target = target or meta.get("target", "onnx")
        cores = os.cpu_count() or 1
        # onnxruntime runs beside itself; the other runtimes have one pool of threads per process
        towers = open_bundle(bundle, target, threads=1 if target == "onnx" else cores)
        limit = max_pixels or int(meta.get("max_pixels", MAX_PIXELS))
        if sidecar is None:
            sidecar = make_sidecar(
                out,
                space_id=towers.manifest["embedding_space"],
                dim=towers.manifest["embed_dim"],
                bundle=str(bundle.resolve()),
                target=target,
                vectors=vectors or DEFAULT,
                graph_vectors="",
                pictures=str(pictures),
                generation=0,
                graph_size=0,
                graph_nodes=0,
                graph_last=0,
                max_pixels=limit,
            )
        else:
            check_space(towers, bundle, out, meta["space_id"])
            if vectors and vectors != meta["vectors"]:
                sidecar.set_meta(vectors=vectors)
            if max_pixels:
                sidecar.set_meta(max_pixels=max_pixels)
            if meta["bundle"] != str(bundle.resolve()):
                sidecar.set_meta(bundle=str(bundle.resolve()))

        # one picture per call: the vector of a picture depends on nothing but the picture
        def encode(data: bytes) -> tuple[np.ndarray, bytes]:
            given = pixels(data, towers.preprocess, limit)
            vector: np.ndarray = towers.embed_pixels(given)[0]
            if not np.isfinite(vector).all():
                raise BadPicture("gives no embedding: the image tower makes numbers that are not finite of it")
            return vector, look_of(given[0])

        sidecar.keep_looks()
        try:
            yield Writer(sidecar, pictures, encode, cores if target == "onnx" else 1, towers, batch, waiting)
        finally:
            sidecar.close()


def default_index(bundle: Path) -> Path:
    """Return where the index of a bundle goes without --out: `index` beside `bundle`, else `<name>.index`."""
    name = "index" if bundle.name == "bundle" else f"{bundle.name.removesuffix('.bundle')}.index"
    return bundle.with_name(name)


def _changed(file: PictureFile, seen: Seen | None, again: bool) -> bool:
    if seen is None or (seen.key is None and again):
        return True
    return (file.mtime_ns, file.size) != (seen.mtime_ns, seen.size)


def _removed(seen: dict[str, Seen], listed: Walk, gone: set[str], hidden: tuple[str, ...]) -> list[str]:
    """List what is not in the folder any more; of what is hidden nothing is known."""
    present = {file.path for file in listed.files} - gone
    return sorted(path for path in seen if path not in present and not path.startswith(hidden))
