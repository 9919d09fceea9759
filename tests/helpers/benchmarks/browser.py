"""Looking at a page in chromium: a copy of it measures itself in a frame of the wanted width and says what is wrong."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

# Runs in the copy. Contrast is that of WCAG 2: text against the nearest background that is not transparent.
CHECKS = """
addEventListener("load", () => setTimeout(() => {
  const channel = c => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => { const [r, g, b] = numbers(colour).map(channel); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor, parts = numbers(colour);
      if (parts.length < 4 || parts[3] > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.getClientRects().length) continue;
    texts += 1;
    const style = getComputedStyle(node);
    const ink = light(node.namespaceURI.endsWith("svg") ? style.fill : style.color), paper = light(behind(node));
    const contrast = (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
    if (contrast < 4.5) faint.push(walker.currentNode.data.trim().slice(0, 40) + " " + contrast.toFixed(2));
  }
  const wide = [...document.body.querySelectorAll("*")].filter(node => {
    const box = node.getBoundingClientRect();
    return box.width && box.right > innerWidth + .5 && !node.closest(".scroll, pre") && !node.closest(".skip");
  }).map(node => node.tagName + "." + node.getAttribute("class") + " " + node.textContent.trim().slice(0, 40));
  const type = node => parseFloat(getComputedStyle(node).fontSize);
  const tiny = [...document.querySelectorAll("svg text")].filter(node => type(node) < 10);
  const images = [...document.images];
  const first = [...document.querySelectorAll("[data-platform]")].filter(node =>
    node.getClientRects().length && node.getBoundingClientRect().bottom <= innerHeight);
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    overflow: document.documentElement.scrollWidth - innerWidth,
    wide, faint, texts,
    platforms: [...new Set(first.map(node => node.dataset.platform))],
    tiny: tiny.length,
    images: images.length,
    broken: images.filter(image => !image.complete || !image.naturalWidth).length,
    requests: performance.getEntriesByType("resource").map(one => one.name).filter(name => !name.startsWith("data:")),
  }), "*");
}, 50));
"""
FRAME = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<script>addEventListener("message", event => {{ document.body.dataset.found = event.data; }});</script>
<iframe src="{page}" style="border:0;width:{width}px;height:900px"></iframe>"""


def chromium(page: Path, profile: Path) -> tuple[str, str]:
    """Open a page without a network; returns its document when it is loaded, and what the browser logged."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "these tests look at the report in a browser. Get one: sudo apt-get install chromium"
    command = [
        *(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--window-size=1400,1000"),
        *(f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return done.stdout, done.stderr


def look(content: str, width: int, dark: bool, folder: Path) -> dict[str, Any]:
    """Return what a page says about itself at a width, in light or dark."""
    # the policy of the page forbids scripts, and with them the one that measures
    copy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", content)
    query = "@media (prefers-color-scheme: dark)"
    assert query in copy
    copy = copy.replace(query, "@media all" if dark else "@media not all")
    copy = copy.replace("</body>", f"<script>{CHECKS}</script></body>")
    copy = copy.replace("<details>", "<details open>")
    folder.mkdir()
    (folder / "page.html").write_text(copy, "utf-8")
    (folder / "frame.html").write_text(FRAME.format(page="page.html", width=width), "utf-8")
    document, _ = chromium(folder / "frame.html", folder / "profile")
    found = re.search(r'data-found="([^"]*)"', document)
    assert found, "the page did not load"
    return dict(json.loads(html.unescape(found[1])))
