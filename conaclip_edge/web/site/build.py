"""A static site that runs a bundle in the browser over an index of pictures."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from importlib.resources import files
from pathlib import Path

from conaclip_edge.bundle.integrity import check_members
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.data.preprocess import BadPicture
from conaclip_edge.errors import UserError
from conaclip_edge.search.folder.picture_folder import picture_bytes
from conaclip_edge.search.index import PictureIndex, open_index
from conaclip_edge.search.words.unread import silent_ids
from conaclip_edge.system.files import atomic_folder, read_json
from conaclip_edge.system.products import SITE, check_out
from conaclip_edge.system.progress import track
from conaclip_edge.system.result import Result
from conaclip_edge.web.names import shown_name
from conaclip_edge.web.page import HEADERS, PAGE, page_file
from conaclip_edge.web.site.int8_vectors import quantise
from conaclip_edge.web.site.npm import site_modules
from conaclip_edge.web.thumbnails import thumbnail

MAX_PIXELS = 64_000_000
ENGINE = (
    *(
        "backend.js",
        "engine.js",
        "towers.js",
        "tokenize.js",
        "preprocess.js",
        "query.js",
        "rows.js",
        "picture-filter.js",
    ),
    *("check.html", "check-page.js", "check.js"),
)
TOKENIZERS = ("WordPiece", "BPE", "Unigram")  # what the page's tokenizer knows
_TOWERS = ("image", "text")


class SiteReport(Result):
    """A static site that was written.

    Attributes:
        site: its folder.
        pictures: that can be searched in it.
        left_out: name of a picture that is not in it -> reason.
        bytes: of all files.
    """

    site: Path
    pictures: int
    left_out: dict[str, str]
    bytes: int


class SiteAbout(Result):
    """The content of site.json, which the page reads first.

    Attributes:
        name: of the model.
        digest: of the bundle.
        embedding_space: of the bundle and the index.
        dim: of the embeddings.
        context: of the text tower, in tokens.
        eos_id: token that ends a text.
        max_pixels: larger pictures are refused as queries.
        credit: of the pictures, for the foot of the page.
        pictures: names, in the order of their vectors.
        changed: days from 1970 to the last change of each file, by this machine's clock.
        silent_ids: tokens that stand for nothing; of a text of these alone the model reads nothing.
        cut_off: margin, and mean of the vectors, that separate hits from what any words find; None if not known.
    """

    name: str
    digest: str
    embedding_space: str
    dim: int
    context: int
    eos_id: int
    max_pixels: int = MAX_PIXELS
    credit: str
    pictures: tuple[str, ...]
    changed: tuple[int, ...]
    silent_ids: tuple[int, ...]
    cut_off: tuple[float, tuple[float, ...]] | None


def build_site(bundle: Path, index: Path, out: Path, credit: str = "") -> SiteReport:
    """Write a static site.

    Args:
        bundle: with int8 files for ONNX.
        index: of pictures, made with a bundle of the same embedding space.
        out: folder of the site; an older one is replaced at the end.
        credit: of the pictures, for the foot of the page.

    Raises:
        UserError: no bundle, no index, no ONNX files, changed ones, another embedding space, or npm is missing.
    """
    manifest = read_manifest(bundle)
    towers = {name: bundle / "onnx" / f"{name}.int8.onnx" for name in _TOWERS}
    if not all(path.is_file() for path in towers.values()):
        raise UserError(
            f"bundle {bundle} has no int8 files for ONNX, which a browser runs. "
            "Add them: conaclip-edge export --target onnx"
        )
    copied = (*towers.values(), bundle / "tokenizer.json", bundle / "preprocess.json")
    tokenizer = read_json(bundle / "tokenizer.json", "tokenizer")
    kind = tokenizer.get("model", {}).get("type")
    if kind not in TOKENIZERS:
        raise UserError(
            f"bundle {bundle} has a tokenizer of kind {kind}, which the page's tokenizer does not know. "
            f"Known: {', '.join(TOKENIZERS)}. 'conaclip-edge serve' runs it."
        )
    pictures = open_index(index)
    if pictures.space_id != manifest.embedding_space:
        raise UserError(
            f"bundle {bundle} has embedding space {manifest.embedding_space[:16]}, index {index} has "
            f"{pictures.space_id[:16]}: their vectors cannot be compared. Make the site with the index's own bundle."
        )
    if out.resolve() in (*bundle.resolve().parents, *index.resolve().parents, bundle.resolve(), index.resolve()):
        raise UserError(f"--out {out} would replace the bundle or the index. Choose another folder.")
    check_out(out, SITE)
    check_members(bundle, manifest.model_dump(), [*copied, bundle / "golden"])
    modules = site_modules()
    with atomic_folder(out, SITE) as folder:
        for name in PAGE:
            (folder / name).write_bytes(page_file(name))
        engine = files("conaclip_edge.web") / "model"
        for name in ENGINE:
            (folder / name).write_bytes((engine / name).read_bytes())
        (folder / "licences.txt").write_bytes((files("conaclip_edge.web") / "licences.txt").read_bytes())
        shutil.copytree(modules, folder / "vendor")
        (folder / "model").mkdir()
        for path in copied:
            shutil.copy(path, folder / "model" / path.name)
        shutil.copytree(bundle / "golden", folder / "golden")
        names, changed, left_out = _index(pictures, folder)
        low = pictures.cut_off()
        about = SiteAbout(
            name=manifest.name,
            digest=manifest.digest,
            embedding_space=manifest.embedding_space,
            dim=pictures.dim,
            context=manifest.context,
            eos_id=manifest.eos_id,
            credit=credit,
            pictures=tuple(names),
            changed=tuple(changed),
            silent_ids=tuple(silent_ids(bundle / "tokenizer.json", manifest.context)),
            cut_off=None if low is None else (low.margin, tuple(round(value, 6) for value in low.mean.tolist())),
        )
        (folder / "site.json").write_text(json.dumps(about.model_dump(), ensure_ascii=False), "utf-8")
        headers = "".join(f"  {name}: {value}\n" for name, value in HEADERS.items())
        (folder / "_headers").write_text(f"/*\n{headers}", "utf-8")  # as Netlify and Cloudflare Pages read it
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # a web server is another user
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return SiteReport(site=out, pictures=len(names), left_out=left_out, bytes=size)


def site_text(report: SiteReport) -> str:
    """Format for a terminal what was written and how to look at it."""
    lines = [
        f"site in {report.site}: {report.pictures} pictures, {report.bytes / 1e6:.1f} MB",
        *(f"left out: {name}: {reason}" for name, reason in report.left_out.items()),
        f"Look at it: python3 -m http.server -b 127.0.0.1 -d {report.site} 8080, then http://127.0.0.1:8080/",
    ]
    return "\n".join(lines)


def _index(index: PictureIndex, folder: Path) -> tuple[list[str], list[int], dict[str, str]]:
    """Write vectors and thumbnails of the pictures that can still be read; returns names, days and what is left out."""
    (folder / "index").mkdir()
    (folder / "thumbs").mkdir()
    keys, vectors = index.vectors()
    paths = [index.path(int(key)) for key in keys]
    changes = {key: mtime_ns for key, _, mtime_ns in index.stamps()}
    kept: list[int] = []
    names: list[str] = []
    left_out: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda path: _small(path, index.max_pixels), paths)
        for row, (path, (data, reason)) in enumerate(track(list(zip(paths, found, strict=True)), "thumbnails")):
            name = shown_name(path.relative_to(index.pictures)) if path else f"picture {keys[row]}"
            if data is None:
                left_out[name] = reason
                continue
            (folder / "thumbs" / f"{len(kept)}.webp").write_bytes(data)
            kept.append(row)
            names.append(name)
    values, scales = quantise(vectors[kept])
    (folder / "index" / "vectors.i8").write_bytes(values.tobytes())
    (folder / "index" / "scales.f32").write_bytes(scales.astype("<f4").tobytes())
    return names, [_day(changes.get(int(keys[row]), 0)) for row in kept], left_out


def _day(mtime_ns: int) -> int:
    """Return days from 1970 to a time's local day, so that a date means the same in every browser."""
    try:
        return datetime.fromtimestamp(mtime_ns // 10**9).toordinal() - date(1970, 1, 1).toordinal()
    except (ValueError, OverflowError, OSError):  # a year that no calendar has
        return mtime_ns // (86_400 * 10**9)


def _small(path: Path | None, max_pixels: int) -> tuple[bytes | None, str]:
    if path is None:
        return None, "removed from the index meanwhile"
    try:
        return thumbnail(picture_bytes(path), max_pixels), ""
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    except BadPicture as error:
        return None, str(error)
