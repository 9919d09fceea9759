"""Stand-ins for CUDA's libraries, without which torch's arm64 wheel does not load.

ExecuTorch's Python module links to torch, although it runs programs without it. PyPI's only torch for arm64 Linux is
built for NVIDIA's machines: its libraries name fifteen of CUDA's, two gigabytes that nothing here calls. The system's
loader only looks that each library is there, and each function in any of them. So each stand-in has a name and nothing
else, but for one more library, which the first of them names: it has all the functions, each of which returns 1 (CUDA's
errors are not 0). They cannot lie in a library of CUDA's name, since there the loader wants their versions as well. A
torch that is built without CUDA gets none.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path

from conaclip_edge.errors import UserError

_HEADER, _PROGRAM, _SECTION = (
    struct.Struct("<16sHHIQQQIHHHHHH"),
    struct.Struct("<IIQQQQQQ"),
    struct.Struct("<IIQQQQIIQQ"),
)
_DYNAMIC, _SYMBOL = struct.Struct("<qQ"), struct.Struct("<IBBHQQ")
_NEEDED, _HASH, _STRTAB, _SYMTAB, _STRSZ, _SYMENT, _SONAME = 1, 4, 5, 6, 10, 11, 14
_LIBRARY = re.compile(r"lib(cu|nccl|nvrtc|nvshmem)\w*\.so\.\d+")
_FUNCTION = re.compile(r"_*(cu|nccl|nvrtc|nvshmem|nvJitLink)")
_FUNCTIONS = "libcuda_stand_in.so"
_RETURN_1 = struct.pack("<2I", 0x52800020, 0xD65F03C0)  # mov w0, #1; ret


def stand_in_for_cuda(torch_lib: Path) -> list[str]:
    """Write what torch's libraries need of CUDA and is not there; returns the names of the libraries.

    Args:
        torch_lib: the folder torch/lib of an unpacked wheel for arm64.

    Raises:
        UserError: a library cannot be read.
    """
    libraries, undefined, defined = set[str](), set[str](), set[str]()
    for path in sorted(torch_lib.glob("*.so*")):
        if _LIBRARY.fullmatch(path.name) or path.name == _FUNCTIONS:
            continue
        needs, wants, has = _linked(path)
        libraries |= needs
        undefined |= wants
        defined |= has
    missing = sorted(name for name in libraries if _LIBRARY.fullmatch(name) and not (torch_lib / name).exists())
    functions = sorted(name for name in undefined - defined if _FUNCTION.match(name))
    for name in missing:
        (torch_lib / name).write_bytes(library(name, needs=_FUNCTIONS if name == missing[0] else ""))
    if missing:
        (torch_lib / _FUNCTIONS).write_bytes(library(_FUNCTIONS, functions))
    return missing


def _linked(path: Path) -> tuple[set[str], set[str], set[str]]:
    """Return of a library: the libraries that it needs, the functions that it lacks, those that it has."""
    data = path.read_bytes()
    try:
        header = _HEADER.unpack_from(data)
        sections = [_SECTION.unpack_from(data, header[6] + n * header[11]) for n in range(header[12])]

        def table(kind: int) -> tuple[bytes, bytes]:
            _, _, _, _, at, size, link, *_ = next(one for one in sections if one[1] == kind)
            strings = sections[link]
            return data[at : at + size], data[strings[4] : strings[4] + strings[5]]

        entries, text = table(6)
        needs = {_name(text, value) for tag, value in _DYNAMIC.iter_unpack(entries) if tag == _NEEDED}
        symbols, text = table(11)
        named = [(_name(text, at), section) for at, _, _, section, _, _ in _SYMBOL.iter_unpack(symbols) if at]
    except (struct.error, StopIteration, IndexError, ValueError) as error:
        raise UserError(f"{path} is no library of arm64: remove its folder and prepare again.") from error
    return needs, {name for name, section in named if not section}, {name for name, section in named if section}


def _name(text: bytes, at: int) -> str:
    return text[at : text.index(b"\0", at)].decode()


def library(name: str, functions: Sequence[str] = (), needs: str = "") -> bytes:
    """Return an arm64 ELF library.

    Args:
        name: of the library.
        functions: that it has, each of which returns 1.
        needs: name of another library that is loaded with it.
    """
    start = _HEADER.size + 2 * _PROGRAM.size
    strings, offsets = bytearray(b"\0" + name.encode() + b"\0"), []
    needed = len(strings)
    strings += needs.encode() + b"\0"
    for one in functions:
        offsets.append(len(strings))
        strings += one.encode() + b"\0"
    function = 1 << 4 | 2  # global, function
    symbols = bytes(_SYMBOL.size) + b"".join(_SYMBOL.pack(at, function, 0, 1, start, 8) for at in offsets)
    content, places = bytearray(_RETURN_1), []
    for part in (_hashes(functions), symbols, bytes(strings)):
        places.append(start + len(content))
        content += part + bytes(-len(part) % 8)
    dynamic, values = start + len(content), dict(zip((_HASH, _SYMTAB, _STRTAB), places, strict=True))
    values |= {_SONAME: 1, _STRSZ: len(strings), _SYMENT: _SYMBOL.size}
    if needs:
        values[_NEEDED] = needed
    content += b"".join(_DYNAMIC.pack(*entry) for entry in (*values.items(), (0, 0)))
    size, shared, arm64 = start + len(content), 3, 183
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = _HEADER.pack(identity, shared, arm64, 1, 0, _HEADER.size, 0, 0, _HEADER.size, _PROGRAM.size, 2, 64, 0, 0)
    load = _PROGRAM.pack(1, 7, 0, 0, 0, size, size, 0x10000)  # the loader writes into it as well
    found = _PROGRAM.pack(2, 6, dynamic, dynamic, dynamic, size - dynamic, size - dynamic, 8)
    return header + load + found + bytes(content)


def _hashes(names: Sequence[str]) -> bytes:
    """Return the hash table of symbols in System V's form: buckets, and the chain of each."""
    buckets, chain = [0] * max(1, len(names)), [0] * (len(names) + 1)
    for number, name in enumerate(names, 1):
        value = 0
        for byte in name.encode():
            value = (value << 4) + byte
            value = (value ^ (value & 0xF0000000) >> 24) & 0x0FFFFFFF
        chain[number], buckets[value % len(buckets)] = buckets[value % len(buckets)], number
    return struct.pack(f"<{2 + len(buckets) + len(chain)}I", len(buckets), len(chain), *buckets, *chain)
