"""Changes of valid bytes: each takes a source of chance and bytes, and gives other bytes; the same chance, the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from tests.security.changes_formats import change_png, change_protobuf, change_safetensors, change_sqlite, change_tar
from tests.security.changes_trees import change_json, change_json_line, change_yaml

Change = Callable[[Random, bytes], bytes]

MAX_BYTES = 2_000_000
NUMBERS = (
    *(b"0", b"-1", b"1", b"00", b"2147483648", b"-2147483649", b"9223372036854775808", b"1e999", b"-1e999", b"nan"),
    *(b"inf", b"NaN", b"-Infinity", b"1" * 400, b"9" * 5000, b"0x10", b"1_0", b"1.5", "\u0661".encode(), b""),
)
PIECES = (
    *(
        b"\0",
        b"\n",
        b"\r\n",
        b"\r",
        b"\t",
        b'"',
        b"'",
        b",",
        b":",
        b"=",
        b"\\",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xed\xa0\x80",
    ),
    *(
        b"\x80",
        b"\xf4\x90\x80\x80",
        b"\x1b[2J",
        "\u202e".encode(),
        "\u2028".encode(),
        "\u0130".encode(),
        b"%00",
        b"%ff",
    ),
    *(b"../", b"[" * 2000, b"{" * 2000, b"x" * 200_000, b"- " * 3000),
)
YAML_PIECES = (
    *(b"&a ", b"*a", b"<<: *a\n", b"!!float x", b"!!int ''", b"!!timestamp 2001-99-99", b"!!binary =", b"!!set {a}"),
    *(
        b"!!omap [a]",
        b"!!pairs [a: 1]",
        b"!!python/name:os.system",
        b"? ",
        b"? [a]\n: b\n",
        b"--- ",
        b"...\n",
        b"%YAML 9.9\n",
    ),
    *(
        b"0x" + b"f" * 5000,
        b"1:2:3:4",
        b"0b2",
        b"2001-01-01",
        b"=",
        b"~",
        b"{a: [b, {c: d}]}",
        b"|2\n",
        b">-\n",
        b"a: &a [*a]",
    ),
)
SIZES = (1, 2, 4, 8)


def change(random: Random, seeds: Sequence[bytes], kind: str) -> bytes:
    """Change one of some valid files, one to four times.

    Args:
        random: all chance comes from it.
        seeds: valid files of a kind.
        kind: a key of WAYS.
    """
    data = random.choice(seeds)
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        if random.randrange(12) == 0:
            data = _spliced(random, data, random.choice(seeds))
        else:
            data = random.choice(WAYS[kind])(random, data)[:MAX_BYTES]
    return data


def _spliced(random: Random, one: bytes, other: bytes) -> bytes:
    """The start of one file and the end of another."""
    return one[: random.randrange(len(one) + 1)] + other[random.randrange(len(other) + 1) :]


def _part(random: Random, data: bytes) -> tuple[int, int]:
    """Choose a start and an end, mostly near each other."""
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 1, 2, 4, 8, 32, 512, len(data))))


def change_bytes(random: Random, data: bytes) -> bytes:
    """Flip, overwrite, remove, double or insert bytes, or cut the end off."""
    start, end = _part(random, data)
    way = random.randrange(7)
    if way == 0 and start < len(data):
        return data[:start] + bytes([data[start] ^ (1 << random.randrange(8))]) + data[start + 1 :]
    if way == 1:
        return data[:start] + data[end:]
    if way == 2:
        return data[:end] + data[start:end] * random.choice((1, 1, 2, 300)) + data[end:]
    if way == 3:
        return data[:start] + bytes(random.randrange(256) for _ in range(random.randrange(1, 9))) + data[end:]
    if way == 4:
        return data[:start]
    if way == 5:
        size, order = random.choice(SIZES), "little" if random.randrange(2) else "big"
        top = 2 ** (8 * size)
        number = random.choice((0, 1, top - 1, top // 2, top // 2 - 1, top // 256, random.randrange(top)))
        return data[:start] + number.to_bytes(size, order) + data[start + size :]
    return data[:start] + data[end : end + end - start] + data[start:end] + data[end + end - start :]


def change_text(random: Random, data: bytes) -> bytes:
    """Change a number, a line or a word of a text, or insert what texts seldom hold."""
    way = random.randrange(5)
    if way == 0:
        found = [match.span() for match in re.finditer(rb"-?\d+(\.\d+)?", data)]
        start, end = random.choice(found) if found else _part(random, data)
        return data[:start] + random.choice(NUMBERS) + data[end:]
    if way == 1:
        start = random.randrange(len(data) + 1)
        return data[:start] + random.choice(PIECES) + data[start:]
    separator = random.choice((b"\n", b" ", b",", b'"', b":", b"/"))
    parts = data.split(separator)
    place, other = random.randrange(len(parts)), random.randrange(len(parts))
    if way == 2:
        parts.insert(other, parts[place])
    elif way == 3:
        del parts[place]
    else:
        parts[place] = parts[other]
    return separator.join(parts)


def _yaml_piece(random: Random, data: bytes) -> bytes:
    """Put a piece of YAML's grammar in the place of a value."""
    found = [match.span(1) for match in re.finditer(rb"[:=-] ?([^\n]*)", data)] or [(0, len(data))]
    start, end = random.choice(found)
    return data[:start] + random.choice(YAML_PIECES) + data[end:]


WAYS: dict[str, tuple[Change, ...]] = {
    "bytes": (change_bytes,),
    "text": (change_text, change_bytes),
    "json": (change_json, change_json, change_json, change_text, change_bytes),
    "json lines": (change_json_line, change_json_line, change_json_line, change_text, change_bytes),
    "yaml": (change_yaml, change_yaml, _yaml_piece, change_text, change_bytes),
    "safetensors": (change_safetensors, change_safetensors, change_bytes),
    "sqlite": (change_sqlite, change_sqlite, change_sqlite, change_bytes),
    "tar": (change_tar, change_tar, change_bytes),
    "protobuf": (change_protobuf, change_protobuf, change_bytes),
    "picture": (change_png, change_bytes, change_bytes),
}
