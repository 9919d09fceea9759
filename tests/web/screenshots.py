"""Takes the pictures of docs/search.md anew: python tests/web/screenshots.py BUNDLE (see `make screenshots`)."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from devtools import browser  # noqa: E402  # the tests' folder is no package

from conaclip_edge.config import DataConfig  # noqa: E402
from conaclip_edge.data.openmoji import emoji_captions, read  # noqa: E402
from conaclip_edge.retrieval.command import index_pictures  # noqa: E402
from conaclip_edge.web.local import serve_folder  # noqa: E402
from conaclip_edge.web.site import build_site  # noqa: E402

SIDE = 320
CREDIT = "Pictures: OpenMoji, CC BY-SA 4.0."


def named_pictures(folder: Path) -> None:
    """Write every picture of the demo under its first caption."""
    folder.mkdir()
    pairs = read(DataConfig(format="openmoji", split="random", picture_size=SIDE), folder.parent / "cache")
    for row, texts in enumerate(emoji_captions().values()):
        name = re.sub(r"[^a-z0-9 ]", "", texts[0]).strip() or pairs.keys[row]
        (folder / f"{name}.png").write_bytes(pairs.read(row))


def main(bundle: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        named_pictures(home / "pictures")
        index_pictures(bundle, home / "pictures", home / "index", None, None, False)
        build_site(bundle, home / "index", home / "site", CREDIT)
        with serve_folder(home / "site") as address, browser(home / "profile") as tab:
            for query, width, height, dark in (("hot air balloon", 1280, 900, False), ("strawbery", 390, 844, True)):
                tab.open(f"{address}/", width, height, dark)
                tab.search(query)  # the first one after a start is slower than what a person sees
                tab.search("red bicycle")
                tab.search(query)
                tab.screenshot(ROOT / "docs" / f"search-{width}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
