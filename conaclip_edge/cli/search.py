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
    bundle: Annotated[Path, typer.Argument(help="Bundle whose image tower encodes the pictures.")],
    pictures: Annotated[
        Path | None, typer.Argument(help="Folder of pictures, with its subfolders and linked folders.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Index; default: index/ beside the bundle.")] = None,
    target: Annotated[str | None, typer.Option(help="onnx, executorch, coreml or coreai; default onnx.")] = None,
    vectors: Annotated[str | None, typer.Option(help="f32, f16 or i8: storage in the HNSW graph; default i8.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep the index up to date until Ctrl-C.")] = False,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Leave out larger pictures; default: 210 million pixels.")
    ] = None,
    moved_to: Annotated[
        Path | None,
        typer.Option(metavar="NEW", help="The folder of pictures was moved here; nothing is encoded again."),
    ] = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Also forget the pictures of folders that are now empty.")
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
    image: Annotated[Path | None, typer.Option(help="Find pictures that look like this one; words narrow it.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Where the bundle is now, if it has moved.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Take misspelt words as they are.")] = False,
    min_score: Annotated[float | None, typer.Option(help="Leave out pictures with a smaller cosine.")] = None,
    folder: Annotated[str, typer.Option(help="Only pictures in this subfolder.")] = "",
    name: Annotated[str, typer.Option(help="Only pictures whose name contains this, or matches 'IMG_*'.")] = "",
    after: Annotated[
        str, typer.Option(metavar="DATE", help="Only files changed since, e.g. 2024-07-01, 2024-07 or 2024.")
    ] = "",
    before: Annotated[str, typer.Option(metavar="DATE", help="Only files changed before this date.")] = "",
    show_all: Annotated[bool, typer.Option("--all", help="Show near-duplicates, too.")] = False,
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
        str, typer.Option(help="Address to listen on; the default serves this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    bundle: Annotated[Path | None, typer.Option(help="Where the bundle is now, if it has moved.")] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Also answer to this host name, e.g. a proxy's; repeatable."),
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="PATH", help="Path of the page behind a proxy, e.g. /photos.")] = "",
    max_upload: Annotated[
        int, typer.Option(min=1, metavar="MB", help="Largest picture that may be dropped on the page.")
    ] = 20,
) -> None:
    """Show an index on a local page that searches as you type.

    Example: conaclip-edge serve runs/demo/index
    """
    with results(False):
        from conaclip_edge.web.server.run import serve_index

        serve_index(index, bundle, host, port, allow_host or [], prefix, max_upload)


def web(
    bundle: Annotated[Path, typer.Argument(help="Bundle whose ONNX files run in the browser.")],
    index: Annotated[Path, typer.Argument(help="Folder of the index, made with this bundle.")],
    out: Annotated[Path, typer.Option(help="Folder of the site.")] = Path("runs/site"),
    credit: Annotated[str, typer.Option(help="Credit line at the bottom of the page.")] = "",
    measure: Annotated[
        Path | None, typer.Option(metavar="REPORT", help="Time the site in Chromium and add it to this report.json.")
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
