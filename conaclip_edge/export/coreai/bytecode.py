"""Names in MLIR bytecode, which is what an .aimodel holds: chosen by chance when it is written, settled here.

The form is MLIR's own (mlir.llvm.org/docs/BytecodeFormat): a head, then sections, one of which has every name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

_MAGIC = b"ML\xefR"
_STRINGS, _HAS_ALIGNMENT, _PADDING = 0, 0x80, b"\xcb"


@dataclass(frozen=True)
class _Section:
    kind: int
    alignment: int  # of its first byte in the file; 1 where any will do
    content: bytes


def rename(bytecode: bytes, new_names: Callable[[Sequence[str]], Sequence[str]]) -> bytes:
    """Return the bytecode with all its names given to `new_names`, whose results take their places.

    Raises:
        ValueError: bytes of another form.
    """
    reader = _Reader(bytecode)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise ValueError("this is no MLIR bytecode")
    reader.number()  # version
    reader.name()  # producer
    made = bytearray(bytecode[: reader.at])
    while reader.at < len(bytecode):
        section = _read_section(reader)
        content = _renamed(section.content, new_names) if section.kind == _STRINGS else section.content
        made.append(section.kind | (_HAS_ALIGNMENT if section.alignment > 1 else 0))
        made += _number(len(content))
        if section.alignment > 1:
            made += _number(section.alignment)
            made += _PADDING * (-len(made) % section.alignment)
        made += content
    return bytes(made)


def _read_section(reader: _Reader) -> _Section:
    (kind,) = reader.take(1)
    length, alignment = reader.number(), 1
    if kind & _HAS_ALIGNMENT:
        alignment = reader.number()
        reader.at += -reader.at % alignment
    return _Section(kind & ~_HAS_ALIGNMENT, alignment, reader.take(length))


def _renamed(content: bytes, new_names: Callable[[Sequence[str]], Sequence[str]]) -> bytes:
    """Rewrite the section of names: how many, their sizes from the last to the first, then each with a zero byte."""
    reader = _Reader(content)
    sizes = [reader.number() for _ in range(reader.number())]
    names = [reader.take(size)[:-1].decode() for size in reversed(sizes)]
    new = [name.encode() + b"\0" for name in new_names(names)]
    return b"".join([_number(len(new)), *(_number(len(name)) for name in reversed(new)), *new])


class _Reader:
    """Reads bytes from the first on."""

    def __init__(self, content: bytes):
        self._content, self.at = content, 0

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if self.at + count > len(self._content):
            raise ValueError("MLIR bytecode ends early")
        self.at += count
        return self._content[self.at - count : self.at]

    def number(self) -> int:
        """Return the next number: zero bits at the low end of its first byte say how many bytes follow."""
        (first,) = self.take(1)
        if first == 0:
            return int.from_bytes(self.take(8), "little")
        more = (first & -first).bit_length() - 1
        return int.from_bytes(bytes([first]) + self.take(more), "little") >> (more + 1)

    def name(self) -> str:
        """Return the text up to the next zero byte."""
        end = self._content.index(b"\0", self.at)
        return self.take(end + 1 - self.at)[:-1].decode()


def _number(value: int) -> bytes:
    """Write a number as MLIR's bytecode has it."""
    for more in range(8):
        if value < 1 << (7 * (more + 1)):
            return ((value << 1 | 1) << more).to_bytes(more + 1, "little")
    return b"\0" + value.to_bytes(8, "little")
