"""Running a page in a headless browser of this machine until it reports back."""

from __future__ import annotations

import queue
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.web.measure.local_server import serve_folder

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def find_chromium() -> str:
    """Return the path of a Chromium or Chrome; UserError saying how to get one."""
    for name in PROGRAMS:
        if program := shutil.which(name):
            return program
    raise UserError("no Chromium on this machine to measure in. Get it: sudo apt-get install chromium")


@contextmanager
def profile_folder() -> Iterator[Path]:
    """Yield a folder that is gone afterwards; helpers of the browser may outlive it by a moment and write there."""
    folder = Path(tempfile.mkdtemp(prefix="conaclip-edge-"))
    try:
        yield folder
    finally:
        until = time.monotonic() + 10
        while folder.exists() and time.monotonic() < until:
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.05)


def page_report(site: Path, page: str, seconds: float = 180) -> bytes:
    """Open a page of a site and return what it sends to its server.

    Raises:
        UserError: no browser, or nothing came in time.
    """
    program = find_chromium()
    came: queue.Queue[bytes] = queue.Queue()
    with serve_folder(site, came.put) as address, profile_folder() as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}", f"{address}/{page}"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until and browser.poll() is None:
                try:
                    return came.get(timeout=0.2)
                except queue.Empty:
                    continue
        finally:
            browser.terminate()
            try:
                browser.wait(10)
            except subprocess.TimeoutExpired:
                browser.kill()
                browser.wait()
    raise UserError(f"{program} gave no answer for {page} within {seconds:.0f} s. Open it in a browser to see why.")
