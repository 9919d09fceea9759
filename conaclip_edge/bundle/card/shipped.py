"""Which files of a bundle an app ships, as a tree with sizes: the other targets' files would only make it larger."""

from __future__ import annotations

from collections.abc import Mapping

from conaclip_edge.bundle.manifest import ExportedFile

_BESIDE = "manifest.json, preprocess.json, tokenizer.json"  # what the kits read beside the towers
_GOLDEN = ("golden/", "for the golden check alone: a release may leave it out")


def android_tree(pairs: Mapping[str, Mapping[str, ExportedFile]]) -> str:
    """Draw an Android app's assets and sources.

    Args:
        pairs: runtime, as people call it -> tower -> file; the app takes one of them.
    """
    rows = []
    for number, (runtime, files) in enumerate(pairs.items()):
        instead = " instead" if number else ""
        rows.append((_folder(files), f"{_names(files)}: {_megabytes(files)}, by {runtime}{instead}"))
    source = "the files of kotlin/" + (", of OnnxTowers.kt and ExecutorchTowers.kt one" if len(pairs) > 1 else "")
    return _tree("app/src/main/", "assets/bundle/", [*rows, _GOLDEN], [("java/conaclip/", source)])


def apple_tree(files: Mapping[str, ExportedFile], encoder: str, inside: bool) -> str:
    """Draw an app's folder reference on iOS and macOS.

    Args:
        files: tower -> package or asset.
        encoder: of the kit's encoders the one that opens them.
        inside: whether they stay in the folder (Core AI); else Xcode compiles them as files of the target (Core ML).
    """
    towers = (_folder(files), f"{_names(files)}: {_megabytes(files)}")
    beside = [("swift/*.swift", f"of the encoders {encoder} alone")]
    rows = [towers, _GOLDEN] if inside else [_GOLDEN]
    return _tree("the app's target", "bundle/ (folder reference)", rows, beside if inside else [towers, *beside])


def _tree(top: str, folder: str, inside: list[tuple[str, str]], beside: list[tuple[str, str]]) -> str:
    lines = [top, f"  {folder}", f"    {_BESIDE}"]
    lines += [f"    {name:<13}{text}" for name, text in inside]
    lines += [f"  {name:<15}{text}" for name, text in beside]
    return "\n".join(["```text", *lines, "```"])


def _folder(files: Mapping[str, ExportedFile]) -> str:
    return files["image"].path.rpartition("/")[0] + "/"


def _names(files: Mapping[str, ExportedFile]) -> str:
    return ", ".join(file.path.rpartition("/")[2] for file in files.values())


def _megabytes(files: Mapping[str, ExportedFile]) -> str:
    return f"{sum(file.size for file in files.values()) / 1e6:.2f} MB"
