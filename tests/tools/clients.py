"""The table of clients: python -m tests.tools.clients runs/demo/bundle

It lays the demo's bundle out for each client of the table of layouts, runs transformers.js in Node, and writes what was
found to docs/results/clients.json and into docs/clients.md. Clients that need another student get a small one with
random weights, of which recall says nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conaclip_edge.bundle.golden import read_golden
from conaclip_edge.bundle.open import Bundle, open_bundle
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.preprocess import to_pixels
from conaclip_edge.data.usable import usable_pictures
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.layouts.client import as_seen
from conaclip_edge.layouts.report import LayoutReport
from conaclip_edge.layouts.table import LAYOUTS, Layout
from conaclip_edge.layouts.write import write_layout
from conaclip_edge.system.files import read_json, write_json
from tests.helpers.layouts import node, words_on_arm64
from tests.helpers.layouts.clip_shaped import write_student
from tests.helpers.layouts.vit import write_vit

ROOT = Path(__file__).parents[2]
KEPT, PAGE = ROOT / "docs" / "results" / "clients.json", ROOT / "docs" / "clients.md"
BEGIN, END = "<!-- clients: python -m tests.tools.clients runs/demo/bundle -->\n", "<!-- end of clients -->"
DEMO, RANDOM = "the demo's", "random weights"
QUERIES, FIRST = 50, 10
RUN = {
    "transformers-js": "transformers.js in Node {node}, and in Chromium by a test",
    "huggingface": "transformers and sentence-transformers themselves",
    "immich": "its preprocessing written again (pixels equal to its own code's), onnxruntime",
}
AGAIN = "its preprocessing written again, {runtime}"
RUN["tidy"] = "its preprocessing written again, onnxruntime; the app opens the files once its onnxruntime 1.14 is 1.23"
# target -> what opened the files
RUNTIMES = {
    "onnx": "onnxruntime",
    "executorch": "ExecuTorch's runtime in Python",
    "coreml": "the reference interpreter of Core ML programs",
}
ITSELF = ("transformers-js", "huggingface")  # layouts that their client itself loaded


def clients(bundle: Path) -> dict[str, Any]:
    """Return what was found, a row for each layout."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        rows = [_row(layout, bundle, home) for layout in LAYOUTS.values()]
        in_node = _in_node(bundle, home)
    return {"pictures": "OpenMoji, val", "rows": rows, "node": in_node}


def table(found: dict[str, Any]) -> str:
    """Write the rows as a table of Markdown."""
    heads = (
        *("client", "student", "loads", "ids equal", "text cosine where they are, least"),
        "picture cosine, mean (least)",
        *("recall kept, text to picture", "and back", "how it was run"),
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in found["rows"]:
        report = LayoutReport.model_validate_json(json.dumps(row["report"]))
        texts, pictures = report.texts, report.pictures
        cosine = f"{pictures.cosine.mean:.4f} ({pictures.cosine.min:.4f})" if pictures else "-"
        kept = [_share(report, way) if row["student"] == DEMO else "-" for way in ("t2i", "i2t")]
        runtime = RUNTIMES[LAYOUTS[report.layout].target]
        run = RUN.get(report.layout, AGAIN).format(node=found["node"]["version"], runtime=runtime)
        cells = (
            report.client,
            row["student"],
            "in the client" if report.layout in ITSELF else f"in {runtime}",
            f"{texts.ids_equal} of {texts.texts}",
            f"{texts.cosine.min:.4f}",
            cosine,
        )
        lines.append(f"| {' | '.join((*cells, *kept, run))} |")
    return "\n".join(lines)


def sentence(found: dict[str, Any]) -> str:
    """Say what Node found."""
    seen = found["node"]
    return (
        f"transformers.js in Node {seen['version']}: the ids of {seen['ids_equal']} of {seen['texts']} golden texts "
        f"are equal. {seen['queries']} captions were searched for in {seen['pictures']} held-out pictures: where these "
        f"have the tower's size, the first {FIRST} are Python's in the same order for {seen['same_sized']} of them; "
        f"with its own resize {seen['shared']:.1f} of the first {FIRST} are Python's in the mean."
    )


def with_table(page: str, found: dict[str, Any]) -> str:
    """Return the text of the page with the table between its two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"{PAGE} has no line {BEGIN}"
    assert end, f"{PAGE} has no line {END}"
    said = [sentence(found), *([words_on_arm64.sentence(found["arm64"])] if "arm64" in found else [])]
    parts = "\n\n".join([table(found), *said])
    return f"{before}{begin}\n{parts}\n\n{end}{after}"


def _row(layout: Layout, bundle: Path, home: Path) -> dict[str, Any]:
    out = home / layout.name
    if layout.made_of == "student":
        report, student = write_layout(write_vit(home / "vit"), layout.name, out), RANDOM
    else:
        try:
            report, student = write_layout(bundle, layout.name, out), DEMO
        except UserError:
            report, student = write_layout(_clip_shaped(home, layout.target), layout.name, out), RANDOM
    return {"student": student, "report": report.model_dump(mode="json")}


def _clip_shaped(scratch: Path, target: str) -> Path:
    home = scratch / f"clip-{target}"
    bundle = home / "bundle"
    if not bundle.is_dir():
        home.mkdir()
        size = 256 if target == "coreml" else 224  # of the apps' pictures
        asked = ["--target", target, "--set", "min_cosine=0.9", "--set", "min_relative_recall=0"]
        command = [sys.executable, "-m", "conaclip_edge.cli.main", "export", str(write_student(home, size))]
        subprocess.run([*command, "--out", str(bundle), *asked], check=True, capture_output=True)
    return bundle


def _in_node(folder: Path, home: Path) -> dict[str, Any]:
    """Run transformers.js over golden texts, and over captions and pictures that were held out."""
    bundle, golden = open_bundle(folder, precision="int8"), read_golden(folder / "golden")
    sized, own, captions = _held_out(folder, bundle, home)
    given = {"texts": [*golden.texts, *captions], "pictures": [str(path) for path in (*sized, *own)]}
    modules = node.packages(home)
    found = node.run(modules, "embed.mjs", home / "transformers-js", given=given)
    eos = bundle.tokenizer.eos_id
    seen = [as_seen(np.asarray(ids), eos) for ids in found["ids"][: len(golden.ids)]]
    equal = sum(ids == as_seen(right, eos) for ids, right in zip(seen, golden.ids, strict=True))
    texts, pictures = np.asarray(found["texts"])[-QUERIES:], np.asarray(found["pictures"])
    right = _first(bundle.embed_texts(captions), bundle.embed_images(sized))
    same = _first(texts, pictures[: len(sized)])
    resized = _first(texts, pictures[len(sized) :])
    return {
        "version": subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip(),
        "texts": len(golden.texts),
        "ids_equal": equal,
        "queries": len(captions),
        "pictures": len(sized),
        "same_sized": sum(one == other for one, other in zip(same, right, strict=True)),
        "shared": float(np.mean([len({*one} & {*other}) for one, other in zip(resized, right, strict=True)])),
    }


def _held_out(folder: Path, bundle: Bundle, home: Path) -> tuple[list[Path], list[Path], list[str]]:
    """Write held-out pictures over white, at the tower's size and at their own; returns both and some captions."""
    config = recorded_data(folder)
    pairs = read_pairs(config)
    sized, own, captions = [], [], []
    for row, _, picture in usable_pictures(pairs, pairs.rows("val").tolist(), config.max_pixels, {}):
        sized.append(home / f"sized-{row}.png")
        Image.fromarray(to_pixels(picture, bundle.preprocess).transpose(1, 2, 0)).save(sized[-1])
        own.append(home / f"own-{row}.png")
        picture.save(own[-1])
        captions += pairs.captions[row][:1]
    return sized, own, captions[:QUERIES]


def _first(texts: np.ndarray, pictures: np.ndarray) -> list[list[int]]:
    return [np.argsort(-row, kind="stable")[:FIRST].tolist() for row in texts @ pictures.T]


def _share(report: LayoutReport, way: str) -> str:
    if report.pictures is None or report.pictures.recall is None:
        return "-"
    low, high = (report.pictures.recall.interval_95 or {})[way]
    return f"{100 * report.pictures.recall.relative_recall[way]:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    only = "words-and-files on arm64 alone, in the system of `conaclip-edge doctor --prepare arm64`"
    parser.add_argument("--arm64", action="store_true", help=only)
    given, kept = parser.parse_args(), read_json(KEPT, "table of clients")
    found = {"arm64": words_on_arm64.both(given.bundle)} if given.arm64 else clients(given.bundle)
    write_json(KEPT, kept | found)
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), read_json(KEPT, "table of clients")), "utf-8")
