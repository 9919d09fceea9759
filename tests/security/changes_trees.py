"""Changes of documents that are trees of values: JSON, JSON Lines and YAML."""

from __future__ import annotations

import json
from random import Random
from typing import Any

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 255, -(2**31), 2**31, 2**32, -(2**63), 2**63 - 1, 2**63, 2**64, 10**30, 10**400),
    *(0.5, -0.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *("", " ", "a", "0", "-1", "1e999", "nan", "null", "\0", "a\0b", "\n", "\x1b[2J", "\u202e", "\u2028", "\ufeff"),
    *("\ud800", "\udfff\ud800", "\U0010ffff", "e\u0301" * 50, "..", "../../x", "/etc/passwd", "\\\\x\\y", "C:\\x", "."),
    *("x" * 300, "x" * 100_000, "%s%n{0}{{7*7}}", "<script>"),
    *([], {}, [[]], [None], {"": None}, {"\ud800": "\ud800"}, [0] * 1000, {"a": {"a": {"a": []}}}),
)
DEPTHS = (50, 500, 990, 5_000, 100_000)
_NEST, _TWICE = "@nest here@", "@twice@"


def change_json(random: Random, data: bytes) -> bytes:
    """Change a value or a key of a JSON document; one that is none comes back as it is."""
    try:
        return _text(random, change_tree(random, json.loads(data)))
    except (ValueError, RecursionError):  # earlier changes made it no JSON, or too deep for Python
        return data


def change_json_line(random: Random, data: bytes) -> bytes:
    """Change one line of JSON Lines."""
    lines = data.split(b"\n")
    place = random.randrange(len(lines))
    lines[place] = change_json(random, lines[place]).replace(b"\n", b" ")
    return b"\n".join(lines)


def change_yaml(random: Random, data: bytes) -> bytes:
    """Change a value or a key of a YAML document, which comes back written as JSON."""
    import yaml

    if len(data) > 50_000 or any(data.count(mark) > 100 for mark in (b"[", b"{", b"- ")):
        return data  # the library would take minutes
    try:
        tree = yaml.safe_load(data)
    except Exception:  # earlier changes made it no YAML
        return data
    try:
        return _text(random, change_tree(random, tree))
    except (TypeError, ValueError, RecursionError):  # a date, or a list that holds itself
        return data


def change_tree(random: Random, tree: Any) -> Any:
    """Replace, remove, copy or add one part of a tree of values."""
    holders = [each for each in _nodes(tree) if isinstance(each, dict | list) and each]
    if not holders:
        return random.choice(ODD)
    holder = random.choice(holders)
    key = random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    way = random.randrange(8)
    if way <= 2:
        holder[key] = random.choice(ODD)
    elif way == 3:
        holder[key] = _near(random, holder[key])
    elif way == 4:
        del holder[key]
    elif way == 5:
        holder[key] = json.loads(json.dumps(random.choice(_nodes(tree))))
    elif way == 6:
        holder[key] = f"{_NEST}{random.choice(DEPTHS)}@"
    elif isinstance(holder, list):
        holder.insert(key, holder[key])
    elif random.randrange(2):
        holder[f"{_TWICE}{key}"] = random.choice(ODD)
    else:
        holder[random.choice([one for one in ODD if isinstance(one, str)])] = holder.pop(key)
    return tree


def _near(random: Random, value: Any) -> Any:
    """Make a value that is of the same kind, and another one."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return random.choice((value + 1, value - 1, -value, value * 1000, value * 2**40, float(value), str(value)))
    if isinstance(value, float):
        return random.choice((-value, value * 1e6, value / 1e6, value + 1e-9, str(value)))
    if isinstance(value, str):
        return random.choice((value + "x", value[:-1], value.upper(), value * 40, [value], value + "\0", f"../{value}"))
    if isinstance(value, list):
        return random.choice((value[::-1], value * 50, value[:1], {"0": value}))
    if isinstance(value, dict):
        return random.choice(([value], list(value), list(value.values())))
    return [value]  # YAML has more kinds: dates, bytes, sets, pairs


def _nodes(tree: Any) -> list[Any]:
    """List all values of a tree, which YAML lets hold itself."""
    found: list[Any] = []
    seen: set[int] = set()
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        found.append(each)
        if isinstance(each, dict | list) and id(each) not in seen:
            seen.add(id(each))
            waiting += each.values() if isinstance(each, dict) else each
    return found


def _text(random: Random, tree: Any) -> bytes:
    """Write a tree with what JSON has and Python's trees do not: any depth, and a key that is there twice."""
    text = json.dumps(tree, ensure_ascii=random.randrange(2) == 0).replace(_TWICE, "")
    before, mark, rest = text.partition(f'"{_NEST}')
    if mark:
        depth, _, after = rest.partition('@"')
        opened, closed = random.choice((("[", "]"), ('{"a":', "}"), ("[", "")))
        inner = "" if opened == "[" else "0"
        text = before + opened * int(depth) + inner + closed * int(depth) + after
    return text.encode("utf-8", "surrogatepass")
