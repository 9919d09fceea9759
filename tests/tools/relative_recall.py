"""What int8 files keep of their student's recall, over val and test together: the tables of docs/results/export.md.

    python tests/tools/relative_recall.py BUNDLE STUDENT

An export looks at val alone, a report at test; a file that keeps what the student finds keeps it on all held-out pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from conaclip_edge.bundle.embeddings import cosines, embed_ids, embed_pixels, finite
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.bundle.write import embedding_space
from conaclip_edge.data.load import read_pairs
from conaclip_edge.errors import ConaclipError
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.evaluation.recall import Ranks, ranks
from conaclip_edge.export.gate.gate import compare_ranks
from conaclip_edge.export.gate.held_out import HeldOut, held_out
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.runtime.open_tower import open_tower
from conaclip_edge.runtime.tower import Tower
from conaclip_edge.system.progress import quiet

SPLITS: tuple[Literal["val", "test"], ...] = ("val", "test")
Embeddings = dict[str, np.ndarray]  # tower -> [n, d]


def main() -> None:
    """Print one row a file and one a target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("student", type=Path)
    folders = parser.parse_args()
    student, manifest = load_student(folders.student), read_manifest(folders.bundle)
    if manifest.embedding_space != embedding_space(student):
        raise SystemExit(f"{folders.bundle} was made of another student than {folders.student}")
    data = recorded_data(folders.student)
    pairs = read_pairs(data)
    with quiet():
        held = [held_out(student, pairs, len(pairs.keys), data, split=split) for split in SPLITS]
    counts = f"{sum(len(one.pictures) for one in held)} pictures, {sum(len(one.texts) for one in held)} captions"
    print(f"{counts} of {' and '.join(SPLITS)}; relative recall is text to picture / picture to text")
    files = [file for file in manifest.files if file.precision == "int8" and file.form is None]
    for kind in sorted({file_kind(file.path) for file in files}):
        found: list[Embeddings] = [{} for _ in held]
        for file in files:
            if file_kind(file.path) == kind:
                tower = open_tower(folders.bundle / file.path, 1)
                for one, into in zip(held, found, strict=True):
                    into[file.tower] = embed(tower, file.tower, one, manifest.pad_id, file.path)
                both = list(zip(held, found, strict=True))
                near = np.concatenate([cosines(f[file.tower], exact(h)[file.tower]) for h, f in both])
                alone = kept(held, [exact(h) | {file.tower: f[file.tower]} for h, f in both])
                print(f"{file.path:40} {file.size / file.float_size:.3f} {near.mean():.5f} {alone} {tower.executed}")
        print(f"{'both ' + kind:40} {'':13} {kept(held, found)}")


def file_kind(path: str) -> str:
    """Return what the two files of a target have in common, such as "onnx/*.ort"."""
    return f"{Path(path).parent}/*{Path(path).suffix}"


def embed(tower: Tower, name: str, held: HeldOut, pad_id: int, label: str) -> np.ndarray:
    """Run a file over the pictures or captions of a split, one a call."""
    if name == "image":
        return finite(embed_pixels(tower, held.pixels, label))
    return finite(embed_ids(tower, held.ids, pad_id, label))


def exact(held: HeldOut) -> Embeddings:
    """Return the float32 student's embeddings."""
    return {"image": held.pictures, "text": held.texts}


def kept(held: Sequence[HeldOut], found: Sequence[Embeddings]) -> str:
    """Say how much recall is left with the embeddings of some files, and how many queries got worse and better."""
    after = [ranks(f["image"], f["text"], h.caption_to_image) for f, h in zip(found, held, strict=True)]
    left = compare_ranks(joined(after), joined([h.ranks for h in held]))
    changes = ", ".join(f"-{left.worse[way]} +{left.better[way]}" for way in ("t2i", "i2t"))
    return f"{100 * left.relative_recall['t2i']:.1f} / {100 * left.relative_recall['i2t']:.1f} % ({changes})"


def joined(splits: Sequence[Ranks]) -> Ranks:
    """Put the queries of splits, each searched in its own pictures, into one list."""
    starts = np.cumsum([0, *(len(one.i2t) for one in splits)])
    caption_to_image = [one.caption_to_image + start for one, start in zip(splits, starts, strict=False)]
    return Ranks(
        *(np.concatenate(parts) for parts in ([s.t2i for s in splits], [s.i2t for s in splits], caption_to_image))
    )


if __name__ == "__main__":
    try:
        main()
    except ConaclipError as error:
        raise SystemExit(str(error)) from None
