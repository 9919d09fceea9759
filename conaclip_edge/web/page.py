"""The page that `web` and `serve` share, and the headers that both are served with."""

from __future__ import annotations

from importlib.resources import files

PAGE = ("index.html", "style.css", "app.js", "results.js", "filters.js")
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# isolated pages may use threads
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page_file(name: str) -> bytes:
    """Return one of the files named in `PAGE`."""
    return (files("conaclip_edge.web") / "page" / name).read_bytes()
