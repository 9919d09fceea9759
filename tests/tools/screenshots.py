"""Takes the pictures of docs/guides/search.md: python tests/tools/screenshots.py BUNDLE (`make screenshots`)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]

from conaclip_edge.config.data import DataConfig  # noqa: E402
from conaclip_edge.demo.openmoji import read  # noqa: E402
from conaclip_edge.demo.run import named_pictures  # noqa: E402
from conaclip_edge.search.commands import index_pictures  # noqa: E402
from conaclip_edge.web.measure.local_server import serve_folder  # noqa: E402
from conaclip_edge.web.site.build import build_site  # noqa: E402
from tests.helpers.devtools import browser  # noqa: E402  # the tests' folder is no package

SIDE = 320
CREDIT = "Pictures: OpenMoji, CC BY-SA 4.0."


def main(bundle: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        (home / "pictures").mkdir()
        config = DataConfig(format="openmoji", split="random", picture_size=SIDE)
        named_pictures(read(config, home / "cache"), home / "pictures")
        index_pictures(bundle, home / "pictures", home / "index")
        build_site(bundle, home / "index", home / "site", CREDIT)
        with serve_folder(home / "site") as address, browser(home / "profile") as tab:
            for query, width, height, dark in (("hot air balloon", 1280, 900, False), ("strawberry", 390, 844, True)):
                tab.open(f"{address}/", width, height, dark)
                tab.search(query)  # the first one after a start is slower than what a person sees
                tab.search("red bicycle")
                tab.search(query)
                tab.screenshot(ROOT / "docs" / f"search-{width}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
