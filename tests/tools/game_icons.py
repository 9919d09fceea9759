"""The icons of the npm package @iconify-json/game-icons as a picture folder: a second data set, in another style.

    npm pack @iconify-json/game-icons@1.2.4 && tar xzf iconify-json-game-icons-1.2.4.tgz
    python -m tests.tools.game_icons package --out runs/game-icons

Black shapes on white, each with its name for a caption. A fixed draw of those whose name says what is to be seen:
card faces, dice, tarot cards, abstract marks and names with digits are left out. Near-twins share a split, by the
rule of the demo's pictures. The icons are CC BY 3.0 (https://game-icons.net).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.demo.near_twins import family_splits
from conaclip_edge.system.files import sha256_text

SAYS_LITTLE = re.compile(
    r"\d|^(abstract|card|tarot|dice|rank|letter)-|-(six|eight|twelve|twenty)-faces|^perspective-dice"
)
COUNT, SIZE, SEED = 2000, 192, 41
SHARES = DataConfig(val_fraction=0.15, test_fraction=0.25)
SHEET = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 512 512">
<rect width="512" height="512" fill="#fff"/>SHAPE</svg>"""
LICENCE = "Icons by the authors of game-icons.net, CC BY 3.0 (https://game-icons.net)."


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the unpacked npm package")
    parser.add_argument("--out", type=Path, required=True, help="picture folder, which must not exist")
    options = parser.parse_args(arguments)
    write_folder(options.package, options.out)
    return 0


def write_folder(package: Path, out: Path) -> None:
    """Render the drawn icons and write metadata.jsonl with a caption and a split each."""
    import resvg_py

    icons = json.loads((package / "icons.json").read_text("utf-8"))["icons"]
    names = drawn_names(icons)
    (out / "pictures").mkdir(parents=True)
    for name in names:
        shape = icons[name]["body"].replace("currentColor", "#000")
        png = resvg_py.svg_to_bytes(svg_string=SHEET.replace("SHAPE", shape), width=SIZE, height=SIZE)
        (out / "pictures" / f"{name}.png").write_bytes(bytes(png))
    captions = [(name.replace("-", " "),) for name in names]
    files = [out / "pictures" / f"{name}.png" for name in names]
    stamp = sha256_text((package / "package.json").read_text("utf-8"), str(SIZE))
    pairs = Pairs(
        "game-icons", names, captions, ["train"] * len(names), lambda row: files[row].read_bytes(), stamp, LICENCE
    )
    splits = family_splits(pairs, len(pairs), SHARES, Path("runs/cache/game-icons/splits"))
    rows = (
        {"file_name": f"pictures/{name}.png", "text": text, "split": split}
        for name, (text,), split in zip(names, captions, splits, strict=True)
    )
    (out / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    print({split: splits.count(split) for split in sorted(set(splits))})


def drawn_names(icons: dict[str, object]) -> list[str]:
    """Return the names of the drawn icons in alphabetical order."""
    telling = [name for name in sorted(icons) if not SAYS_LITTLE.search(name)]
    return sorted(telling[place] for place in np.random.default_rng(SEED).permutation(len(telling))[:COUNT])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
