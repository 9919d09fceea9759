"""Many clients at once, some of them hostile, against `conaclip-edge serve`.

    python tests/web/server/load.py INDEX [--clients 64] [--seconds 60]

Every client asks one thing after the other: by words, by a picture, by one of the index, thumbnails, pictures, the
page. Beside them others send a byte a second, and pictures of 50 MB. No answer may be an error, and after the first
third of the time the server's memory may not grow by more than 5 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

from PIL import Image

SLOW, SLOW_PATIENCE = 16, 20.0  # clients that send a byte a second; the server may keep one for so many seconds
HUGE = 50 * 1024 * 1024
GROWTH = 0.05


@dataclass
class Seen:
    """What the clients and the watcher saw; `seconds` are of the answers, `memory` pairs of time and bytes."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    refused: int = 0


async def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send one request on a connection of its own; returns status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = b""
    with suppress(ConnectionError):  # after a refusal the rest of a large body is not read
        await writer.drain()
    with suppress(ConnectionError):
        answer = await reader.read()
    writer.close()
    return int(answer[9:12] or 0), answer.partition(b"\r\n\r\n")[2]


@cache
def a_picture() -> bytes:
    file = BytesIO()
    Image.effect_noise((200, 150), 60).convert("RGB").save(file, "PNG")
    return file.getvalue()


def requests(count: int, words: list[str], chance: random.Random) -> list[tuple[str, str, bytes]]:
    """Return the kinds of things that a page asks for."""
    text = quote(" ".join(chance.choices(words, k=2)))
    key = chance.randint(1, count)
    return [
        ("POST", f"/search?text={text}&k=48", b""),
        ("POST", f"/search?text={text}&k=48", b""),
        ("POST", f"/search?like={key}", b""),
        ("POST", "/search?k=10", a_picture()),
        ("GET", f"/thumbnail/{key}", b""),
        ("GET", f"/picture/{key}", b""),
        ("GET", "/", b""),
    ]


async def client(port: int, end: float, count: int, words: list[str], number: int, seen: Seen) -> None:
    chance = random.Random(number)
    while time.monotonic() < end:
        method, path, body = chance.choice(requests(count, words, chance))
        began = time.monotonic()
        try:
            status, answer = await ask(port, method, path, body)
        except OSError as error:
            seen.errors.append(f"{method} {path}: {error}")
            continue
        seen.seconds.append(time.monotonic() - began)
        if status != 200:
            seen.errors.append(f"{method} {path}: {status} {answer[:200]!r}")


async def slow(port: int, end: float, seen: Seen) -> None:
    """Send the head of a request a byte a second, again and again, and note how long the server bore it."""
    while time.monotonic() < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began, closed = time.monotonic(), asyncio.ensure_future(reader.read())
        with suppress(ConnectionError):
            for letter in f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: {'a' * 1000}":
                writer.write(letter.encode())
                await writer.drain()
                if (await asyncio.wait([closed], timeout=1))[0] or time.monotonic() > end:
                    break
        if closed.done():
            seen.held.append(time.monotonic() - began)
        closed.cancel()
        writer.close()


async def huge(port: int, end: float, seen: Seen) -> None:
    """Send pictures that are too large, with and without saying so first."""
    body = bytes(HUGE)
    while time.monotonic() < end:
        status, _ = await ask(port, "POST", "/search", body)
        if status in (413, 0):  # closed before we could read why counts as refused
            seen.refused += 1
        else:
            seen.errors.append(f"50 MB: {status}")
        await asyncio.sleep(1)


async def watch(process: int, end: float, seen: Seen) -> None:
    while time.monotonic() < end:
        status = Path(f"/proc/{process}/status").read_text("utf-8")
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        seen.memory.append((time.monotonic(), 1024 * int(found[1])))
        await asyncio.sleep(0.25)


async def storm(port: int, process: int, clients: int, seconds: float) -> Seen:
    """Let everybody at the server for so many seconds."""
    about = json.loads((await ask(port, "GET", "/about"))[1])
    words = ["red", "w4", "w17", "bicycle"]
    seen, end = Seen(), time.monotonic() + seconds
    await asyncio.gather(
        watch(process, end, seen),
        huge(port, end, seen),
        *(slow(port, end, seen) for _ in range(SLOW)),
        *(client(port, end, about["count"], words, number, seen) for number in range(clients)),
    )
    return seen


def growth(seen: Seen) -> float:
    """Return by which share the median memory of the last third of the time is above that of the middle one."""
    first, last = seen.memory[0][0], seen.memory[-1][0]
    third = (last - first) / 3
    middle = [size for when, size in seen.memory if third <= when - first < 2 * third]
    return (
        statistics.median(size for when, size in seen.memory if when - first >= 2 * third) / statistics.median(middle)
        - 1
    )


def under_load(index: Path, clients: int, seconds: float) -> Seen:
    """Start the server on a free port, let the clients at it, and end it."""
    command = [sys.executable, "-m", "conaclip_edge.cli.main", "serve", str(index), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        shown = server.stderr.readline()
        found = re.search(r":(\d+)/", shown)
        assert found, shown + server.stderr.read()
        return asyncio.run(storm(int(found[1]), server.pid, clients, seconds))
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    """Print what was seen; exit code 1 if something is not as it has to be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    seen = under_load(asked.index, asked.clients, asked.seconds)
    times = sorted(seen.seconds)
    p50, p99 = (times[int(len(times) * share)] for share in (0.5, 0.99))
    print(f"{len(times)} answers to {asked.clients} clients in {asked.seconds:.0f} s, {len(seen.errors)} errors")
    print(f"p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms")
    print(f"memory {seen.memory[-1][1] / 1e6:.0f} MB, grown by {growth(seen):+.1%} between middle and last third")
    print(f"a byte a second: closed {len(seen.held)} times, after at most {max(seen.held, default=0):.1f} s")
    print(f"50 MB: refused {seen.refused} times")
    print("\n".join(seen.errors[:10]))
    sys.exit(bool(seen.errors) or growth(seen) > GROWTH or max(seen.held, default=99) > SLOW_PATIENCE)


if __name__ == "__main__":
    main()
