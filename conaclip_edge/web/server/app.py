"""The local page's server: the shared page, search, and the pictures of the index by their keys."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.resources import files
from itertools import islice
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from conaclip_edge.data.preprocess import BadPicture
from conaclip_edge.errors import UserError
from conaclip_edge.search.folder.picture_folder import picture_bytes
from conaclip_edge.search.folder.raw import developed
from conaclip_edge.search.hits.filters import PictureFilter
from conaclip_edge.search.query import Searcher, parse_query
from conaclip_edge.system.result import Result
from conaclip_edge.web.names import shown_name
from conaclip_edge.web.page import PAGE, page_file
from conaclip_edge.web.server.answers import About, FoundPicture, SearchAnswer, ShownPicture
from conaclip_edge.web.server.asked import Asked, read_filter, read_search
from conaclip_edge.web.server.gate import Gate
from conaclip_edge.web.server.pictures import PictureViews
from conaclip_edge.web.thumbnails import shown_as_it_is

LARGEST_UPLOAD = 20 * 1024 * 1024
UPLOAD_PIXELS = 3  # per byte of the largest upload: a small file may claim to be a picture that fills the memory
BODY_SECONDS = 60  # for a picture to come
_SAMPLE, _LOOK = 60, 2000  # pictures that are shown before anything is asked, and keys that are tried for them
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_UPLOADS = 8  # that are in memory at a time; others wait


def make_app(
    searcher: Searcher,
    bundle: Path,
    host: str,
    allowed: Iterable[str] = (),
    prefix: str = "",
    largest_upload: int = LARGEST_UPLOAD,
    body_seconds: float = BODY_SECONDS,
) -> Starlette:
    """Make the server of an index.

    Args:
        searcher: the open index with its towers.
        bundle: folder of the bundle that encodes the queries.
        host: name or address that the server listens on.
        allowed: other names that it is reached by, as those of a proxy in front of it.
        prefix: path that a proxy has it under, e.g. "/photos"; also taken where the proxy leaves it out.
        largest_upload: bytes of a picture that is sent.
        body_seconds: time for it to come.
    """
    index = searcher.index
    stamp = secrets.token_hex(4)  # another index on the same port has other pictures under the same keys
    uploads = asyncio.Semaphore(_UPLOADS)
    views = PictureViews(index)
    lock = threading.Lock()  # not every runtime may be called from two threads

    def shown(key: int, path: Path, score: float | None) -> ShownPicture:
        name = shown_name(path.relative_to(index.pictures))
        thumb, full = (f"./{kind}/{key}?{stamp}" for kind in ("thumbnail", "picture"))
        return ShownPicture(key=key, name=name, score=score, thumb=thumb, full=full)

    def about(only: PictureFilter) -> About:
        if only:
            found = ((key, index.path(key)) for key, path, mtime in index.stamps() if only.takes(path, mtime))
        else:
            found = ((key, index.path(key)) for key in range(1, _LOOK))
        sample = islice((shown(key, path, None) for key, path in found if path), _SAMPLE)
        return About(
            name=shown_name(Path(index.pictures.name)), count=len(index), largest=largest_upload, sample=tuple(sample)
        )

    def search(asked: Asked, picture: bytes | None) -> SearchAnswer:
        if picture is not None:
            picture = _developed(picture, asked.name)
        with lock:
            text = asked.text if asked.exact else searcher.correct(asked.text)
            query = replace(parse_query(text, picture), max_pixels=UPLOAD_PIXELS * largest_upload)
            if asked.like is not None:
                query = replace(query, picture=_read(index.path(asked.like)), max_pixels=None)
            found = searcher.search(query, asked.k, asked.only, not asked.all, asked.min_score)
        low = found.cut_off
        hits = tuple(
            FoundPicture(
                **shown(hit.key, hit.path, hit.score).model_dump(),
                alike=len(found.alike.get(hit.key, ())),
                low=low is not None and hit.score < low,
            )
            for hit in found.hits
        )
        return SearchAnswer(
            searched=text,
            hits=hits,
            cut_off=low,
            encode_ms=found.encode_ms,
            search_ms=found.search_ms,
            notes=tuple(found.notes),
        )

    async def get_about(request: Request) -> Response:
        try:
            return _answer(await run_in_threadpool(about, read_filter(request.query_params)))
        except UserError as error:
            return _error(str(error), 400)

    async def post_search(request: Request) -> Response:
        try:
            asked = read_search(request.query_params)
        except UserError as error:
            return _error(str(error), 400)
        try:
            body = await _body(request, uploads, largest_upload, body_seconds)
        except TimeoutError:
            return _error(f"the picture did not come within {body_seconds} s.", 408)
        except ClientDisconnect:
            return _error("the request ended before its picture did.", 400)  # for the log; nobody is there to read it
        if body is None:
            return _error(f"the picture is larger than {largest_upload >> 20} MB. Choose a smaller one.", 413)
        try:
            return _answer(await run_in_threadpool(search, asked, body or None))
        except UserError as error:
            return _error(str(error), 400)

    async def get_thumbnail(request: Request) -> Response:
        try:
            data = await views.thumbnail(_key(request))
        except (OSError, BadPicture):
            data = None  # it was there when it was indexed
        if data is None:
            return _error("no such picture in the index.", 404)
        return Response(data, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"})

    async def get_picture(request: Request) -> Response:
        path = index.path(_key(request))
        if path is None or not path.is_file():
            return _error("no such picture in the index.", 404)
        if shown_as_it_is(path):
            return FileResponse(path, content_disposition_type="inline", filename=shown_name(Path(path.name)))
        try:
            data = await views.whole(path)
        except (OSError, BadPicture):
            return _error("this picture cannot be read any more.", 404)
        return Response(data, media_type="image/webp")

    async def missing(request: Request, error: Exception) -> Response:
        return _error("no such page.", 404)

    return Starlette(
        routes=[
            *_page_routes(),
            Route("/about", get_about),
            Route("/search", post_search, methods=["POST"]),
            Route("/thumbnail/{key}", get_thumbnail),
            Route("/picture/{key}", get_picture),
        ],
        middleware=[Middleware(Gate, host=host, allowed=tuple(allowed), prefix=prefix)],
        exception_handlers={404: missing},
    )


def _page_routes() -> list[Route]:
    content = {name: page_file(name) for name in PAGE}
    content["backend.js"] = (files("conaclip_edge.web.server") / "backend.js").read_bytes()
    routes = [Route(f"/{name}", _static(data, _KINDS[Path(name).suffix])) for name, data in content.items()]
    return [Route("/", _static(content["index.html"], "text/html")), *routes]


def _static(data: bytes, kind: str) -> Callable[[Request], Response]:
    return lambda request: Response(data, media_type=kind)


def _key(request: Request) -> int:
    """Return the key in a path, -1 for what is no number."""
    text: str = request.path_params["key"]
    return int(text) if len(text) < 20 and text.isascii() and text.isdecimal() else -1


def _developed(picture: bytes, name: str) -> bytes:
    try:
        return developed(picture, name)
    except BadPicture as error:
        raise UserError(f"the query's picture {error}.") from error


def _read(path: Path | None) -> bytes:
    try:
        if path is not None:
            return picture_bytes(path)
    except (OSError, BadPicture):
        pass
    raise UserError("this picture is not in the index any more.")


async def _body(request: Request, uploads: asyncio.Semaphore, largest: int, seconds: float) -> bytes | None:
    """Read what was sent, None as soon as it is too large; TimeoutError if it takes too long."""
    size = request.headers.get("content-length", "")
    if size == "0" or not (size or "transfer-encoding" in request.headers):
        return b""
    if size.isdecimal() and int(size[:20]) > largest:
        return None
    data = bytearray()
    async with uploads, asyncio.timeout(seconds):
        async for chunk in request.stream():
            data += chunk
            if len(data) > largest:
                return None
    return bytes(data)


def _answer(answer: Result) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


def _error(message: str, status: int) -> Response:
    return Response(json.dumps({"error": message}), status, media_type="application/json")
