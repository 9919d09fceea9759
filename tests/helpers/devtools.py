"""Using a page in chromium as a person would, over the DevTools protocol: typing, keys, dropping files, screenshots."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from conaclip_edge.web.measure.chromium import FLAGS, find_chromium

WAIT = 180  # seconds until something that has to happen counts as not happening


class Browser:
    """One tab; collects what the page logs and which addresses it asks for."""

    def __init__(self, socket: ClientConnection):
        self.socket, self.last = socket, 0
        self.logged: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.last += 1
        self.socket.send(json.dumps({"id": self.last, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=WAIT))
            if message.get("id") == self.last:
                assert "error" not in message, message
                return dict(message["result"])
            self._event(message["method"], message["params"])

    def _event(self, method: str, found: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled":
            self.logged.append(" ".join(str(one.get("value", one.get("description"))) for one in found["args"]))
        elif method == "Runtime.exceptionThrown":
            self.logged.append(str(found["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.logged.append(found["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])

    def run(self, script: str) -> Any:
        """Return the value of an expression, awaited if it is a promise."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition: str) -> Any:
        """Wait until an expression is true."""
        end = time.monotonic() + WAIT
        while not (value := self.run(condition)):
            assert time.monotonic() < end, (condition, self.logged, self.run("document.body?.innerText"))
            time.sleep(0.03)
        return value

    def open(self, address: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Go to an address at a width of the window and wait for the search page to be ready."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.until("document.documentElement?.dataset.ready === 'yes' && !document.body.classList.contains('busy')")

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if len(key) == 1 and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, **text)

    def drop(self, *files: Path) -> None:
        """Drag files from outside over the page and let go."""
        data = {"items": [], "files": [str(path.resolve()) for path in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=200, y=300, data=data)

    def results(self) -> list[tuple[str, float | None]]:
        """Return name and score of the pictures that are shown, in order."""
        script = """[...document.querySelectorAll("#results li")].map(item => [item.querySelector(".name").textContent,
            item.querySelector(".score") && Number(item.querySelector(".score").value)])"""
        return [(name, score) for name, score in self.run(script)]

    def search(self, text: str) -> list[tuple[str, float | None]]:
        """Replace what the box holds as a person would, and wait for the answer."""
        self.run("document.getElementById('text').select(), document.getElementById('status').textContent = '...'")
        if text:
            self.type(text)
        else:
            self.press("Backspace")
            self.run("""document.getElementById('text').value = '';
                document.getElementById('form').requestSubmit()""")
        self.until("document.getElementById('status').textContent !== '...'")
        return self.results()

    def screenshot(self, path: Path) -> None:
        self.until("[...document.images].every(image => image.complete || image.loading === 'lazy')")
        found = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))

    def look(self) -> dict[str, Any]:
        """Return what the checks of the report's page say about this one."""
        from tests.helpers.benchmarks.browser import CHECKS

        script = f"""new Promise(found => {{
            addEventListener("message", event => found(JSON.parse(event.data)), {{once: true}});
            {CHECKS}
            dispatchEvent(new Event("load"));
        }})"""
        return dict(self.run(script))


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Yield a tab of a new browser that knows no address but this machine's."""
    program = find_chromium()
    command = [program, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr
        for line in process.stderr:
            if found := re.search(r"ws://127\.0\.0\.1:(\d+)/", line):
                break
        else:
            raise AssertionError("chromium did not start")
        import urllib.request

        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{found[1]}/json/list"
        ) as answer:
            (tab,) = (one for one in json.load(answer) if one["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(20)
