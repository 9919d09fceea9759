"""Changes that know a format well enough to get past its lengths and checksums."""

from __future__ import annotations

import sqlite3
import zlib
from random import Random

from tests.security.changes_trees import ODD, change_json

_OCTAL = (b"0000000", b"7777777", b"\x80\xff\xff\xff\xff\xff\xff\xff", b"\xff" * 8, b"-000001", b"9999999", b" " * 8)
_TAR_FIELDS = ((0, 100), (100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
_NAMES = (
    b"a.png",
    b"../../x.png",
    b"/x.png",
    b"a\xff.png",
    b"a.pkl",
    b"a.txt",
    b"a.json",
    b"",
    b".png",
    b"a",
    b"a.npy",
)
_VARINTS = (0, 1, 2, 7, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1)


def change_safetensors(random: Random, data: bytes) -> bytes:
    """Change the JSON header of a safetensors file; its length is told rightly."""
    length = int.from_bytes(data[:8], "little")
    header = change_json(random, data[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def change_tar(random: Random, data: bytes) -> bytes:
    """Change a field of a member's header, whose checksum is mended, or move whole blocks."""
    blocks = [data[start : start + 512] for start in range(0, len(data), 512)]
    headers = [place for place, block in enumerate(blocks) if block[257:262] == b"ustar"]
    if not headers:
        return data
    place = random.choice(headers)
    if random.randrange(4) == 0:
        blocks.insert(random.randrange(len(blocks)), blocks[place])
        return b"".join(blocks)
    block = bytearray(blocks[place])
    start, size = random.choice(_TAR_FIELDS)
    if size in (8, 12):
        value = random.choice(_OCTAL)
    elif size == 1:
        value = bytes([random.choice(b"0123456789xgLKSDVN\0\xff")])
    else:
        value = random.choice(_NAMES)
    block[start : start + size] = value.ljust(size, b"\0")[:size]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    blocks[place] = bytes(block)
    return b"".join(blocks)


def change_sqlite(random: Random, data: bytes) -> bytes:
    """Change values, rows or the tables of a SQLite database."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(data[:18] + b"\1\1" + data[20:])  # one with a write-ahead log has no place in memory
        connection.execute("PRAGMA ignore_check_constraints = 1")
        columns = connection.execute(
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
        ).fetchall()
        table, column = random.choice(columns)
        way = random.randrange(8)
        rows = f"(SELECT {column} FROM {table} ORDER BY 1 LIMIT 1 OFFSET {random.randrange(8)})"
        if way <= 4:
            value = random.choice(
                [one for one in (*ODD, b"", b"\xff" * 7, bytes(64), b"\0\0\xc0\x7f" * 16) if _plain(one)]
            )
            where = random.choice(("", f" WHERE {column} = {rows}"))
            connection.execute(f"UPDATE OR REPLACE {table} SET {column} = ?{where}", (value,))
        elif way == 5:
            connection.execute(f"DELETE FROM {table} WHERE {column} = {rows}")
        elif way == 6:
            connection.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
        else:
            connection.execute(f"DROP TABLE {table}")
        connection.commit()
        return connection.serialize()
    except (sqlite3.Error, IndexError, OverflowError, UnicodeEncodeError):
        return data  # earlier changes made it no database, or its constraints refuse this one
    finally:
        connection.close()


def _plain(value: object) -> bool:
    return value is None or isinstance(value, bytes | str | float) or (isinstance(value, int) and abs(value) < 2**63)


def change_png(random: Random, data: bytes) -> bytes:
    """Change, double or remove a chunk of a PNG; the checksums are mended. Another picture comes back as it is."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    chunks, place = [], 8
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 12 + size
    if not chunks:
        return data
    chosen = random.randrange(len(chunks))
    kind, body = chunks[chosen]
    way = random.randrange(4)
    if way == 0:
        kind = random.choice((b"tRNS", b"PLTE", b"IHDR", b"iCCP", b"eXIf", b"acTL", b"fdAT", b"zTXt", b"gAMA", b"IDAT"))
        chunks.insert(random.randrange(len(chunks)), (kind, body))
    elif way == 1:
        chunks[chosen:chosen] = [chunks[chosen]]
    elif way == 2:
        del chunks[chosen]
    elif body:
        start = random.randrange(len(body))
        chunks[chosen] = kind, body[:start] + bytes([random.randrange(256)]) + body[start + 1 :]
    whole = [len(each).to_bytes(4) + kind + each + zlib.crc32(kind + each).to_bytes(4) for kind, each in chunks]
    return data[:8] + b"".join(whole)


def change_protobuf(random: Random, data: bytes) -> bytes:
    """Change one field of a protobuf message at any depth; the lengths around it are mended."""
    fields = _fields(data)
    if not fields:
        return data
    place = random.randrange(len(fields))
    number, kind, value = fields[place]
    if isinstance(value, bytes) and kind == 2 and _fields(value) and random.randrange(5):
        fields[place] = number, kind, change_protobuf(random, value)
    elif (way := random.randrange(5)) == 0:
        del fields[place]
    elif way == 1:
        fields.insert(random.randrange(len(fields)), fields[place])
    elif way == 2:
        fields[place] = random.randrange(1, 30), kind, value
    elif isinstance(value, int):
        fields[place] = number, kind, random.choice((*_VARINTS, value + 1, max(0, value - 1)))
    else:
        odd = random.choice((b"", b"x", b"\xff", b"x" * 300, value * 2, value[:-1], value[::-1], bytes(len(value))))
        fields[place] = number, kind, odd[: len(value)].ljust(len(value), b"\0") if kind in (1, 5) else odd
    return b"".join(_field(*each) for each in fields)


def _fields(data: bytes) -> list[tuple[int, int, int | bytes]]:
    """Split a message into (number, wire type, value); empty if it is none."""
    found: list[tuple[int, int, int | bytes]] = []
    place = 0
    while place < len(data):
        tag, place = _read_varint(data, place)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, place = _read_varint(data, place)
            found.append((number, kind, value))
            continue
        if kind not in (1, 2, 5):
            return []
        size, place = _read_varint(data, place) if kind == 2 else ({1: 8, 5: 4}[kind], place)
        if not number or place + size > len(data):
            return []
        found.append((number, kind, data[place : place + size]))
        place += size
    return found


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 70:
        value |= (data[place] & 127) << shift
        shift, place = shift + 7, place + 1
        if data[place - 1] < 128:
            return value, place
    return value, len(data) + 1


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _field(number: int, kind: int, value: int | bytes) -> bytes:
    tag = _varint(number << 3 | kind)
    if isinstance(value, int):
        return tag + _varint(value)
    return tag + (_varint(len(value)) if kind == 2 else b"") + value
