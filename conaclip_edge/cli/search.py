"""The commands on the app's side: index a folder of pictures, search it, show it on a page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from conaclip_edge.cli.output import JsonOption, results


class _QueryCommand(TyperCommand):
    """Takes what begins with a minus and is no option for words: `-car red bicycle`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put words behind `--`, where nothing is taken for an option."""
        takes_value = {
            name: not option.is_flag
            for option in self.params
            if isinstance(option, TyperOption)
            for name in option.opts
        }
        options: list[str] = []
        words: list[str] = []
        waiting = list(args)
        while waiting:
            word = waiting.pop(0)
            if word == "--":
                words += waiting
                break
            if word in takes_value:
                options.append(word)
                options += [waiting.pop(0)] if takes_value[word] and waiting else []
            elif word.startswith("--") or re.fullmatch(r"-k\d+", word):
                options.append(word)
            else:
                words.append(word)
        return super().parse_args(ctx, [*options, "--", *words])


def add_search_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command()(index)
    app.command(cls=_QueryCommand)(search)
    app.command()(serve)
    app.command()(web)


def index(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle whose image tower encodes.")],
    pictures: Annotated[
        Path | None, typer.Argument(help="Folder of pictures, with the folders in it and linked from it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Index; default: index/ beside the bundle.")] = None,
    target: Annotated[str | None, typer.Option(help="onnx, executorch or coreml; default onnx.")] = None,
    vectors: Annotated[str | None, typer.Option(help="f32, f16 or i8: storage in the HNSW graph; default i8.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on while pictures come and go, until Ctrl-C.")] = False,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Larger pictures are left out; default 210 million.")
    ] = None,
    moved_to: Annotated[
        Path | None, typer.Option(metavar="NEW", help="Where the folder of pictures is now; nothing is encoded again.")
    ] = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Forget pictures of folders in it that are empty now, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Index a folder of pictures, or bring its index up to date: new and changed ones are encoded.

    Example: conaclip-edge index runs/demo/bundle ~/Pictures --out runs/pictures
    """
    with results(as_json) as show:
        from conaclip_edge.search.commands import index_pictures
        from conaclip_edge.search.report import index_text

        report = index_pictures(
            bundle,
            pictures,
            out,
            target,
            vectors,
            watch,
            max_pixels=max_pixels,
            moved_to=moved_to,
            drop_missing=drop_missing,
        )
        show(report, index_text(report))


def search(
    index: Annotated[Path, typer.Argument(help="Folder of the index.")],
    query: Annotated[str, typer.Argument(help='Words; -word or -"two words" stays away from them.')] = "",
    k: Annotated[int, typer.Option("-k", min=1, help="How many pictures.")] = 10,
    image: Annotated[Path | None, typer.Option(help="Picture to look for alike ones of, alone or with words.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="If it is not where it was when the index was made.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Take misspelt words as they are.")] = False,
    min_score: Annotated[float | None, typer.Option(help="Leave out pictures of a smaller cosine.")] = None,
    folder: Annotated[str, typer.Option(help="Pictures in this folder alone, below the indexed one.")] = "",
    name: Annotated[str, typer.Option(help="Pictures of which this is part of the name, or a pattern: 'IMG_*'.")] = "",
    after: Annotated[str, typer.Option(metavar="DATE", help="Files changed since 2024-07-01, 2024-07 or 2024.")] = "",
    before: Annotated[str, typer.Option(metavar="DATE", help="Files changed before that date.")] = "",
    show_all: Annotated[bool, typer.Option("--all", help="Show every near-duplicate.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Search an index by words, by a picture, or by both.

    Example: conaclip-edge search runs/demo/index "red bicycle -car" -k 5
    """
    terminal = sys.stdout.isatty() and not as_json
    with results(as_json) as show:
        from conaclip_edge.search.commands import search_pictures
        from conaclip_edge.search.hits.filters import picture_filter
        from conaclip_edge.search.report import search_text

        only = picture_filter(folder, name, after, before)
        report = search_pictures(
            index, query, k, image, bundle, exact, only=only, min_score=min_score, fold=not show_all
        )
        show(report, search_text(report, terminal))


def serve(
    index: Annotated[Path, typer.Argument(help="Folder of the index.")],
    host: Annotated[
        str, typer.Option(help="Name or address to listen on; left out: this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    bundle: Annotated[Path | None, typer.Option(help="If it is not where it was when the index was made.")] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name that it is reached by, as that of a proxy; repeatable."),
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="PATH", help="Where a proxy has the page, e.g. /photos.")] = "",
    max_upload: Annotated[int, typer.Option(min=1, metavar="MB", help="Of a picture that is dropped.")] = 20,
) -> None:
    """Show an index on a local page that searches as you type.

    Example: conaclip-edge serve runs/demo/index
    """
    with results(False):
        from conaclip_edge.web.server.run import serve_index

        serve_index(index, bundle, host, port, allow_host or [], prefix, max_upload)


def web(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle; its ONNX files run in the browser.")],
    index: Annotated[Path, typer.Argument(help="Folder of the index, made with this bundle.")],
    out: Annotated[Path, typer.Option(help="Folder of the site.")] = Path("runs/site"),
    credit: Annotated[str, typer.Option(help="Whose pictures they are, for the foot of the page.")] = "",
    measure: Annotated[
        Path | None, typer.Option(metavar="REPORT", help="report.json that gets what Chromium measures on the site.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a static site that runs the bundle in the browser over the pictures of an index.

    Example: conaclip-edge web runs/demo/bundle runs/demo/index --out runs/demo/site
    """
    with results(as_json) as show:
        from conaclip_edge.web.site.command import make_site, web_text

        report = make_site(bundle, index, out, credit, measure)
        show(report, web_text(report))
