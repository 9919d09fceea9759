"""Stand-ins for CUDA's libraries: what torch's libraries need is there, with each function, and no more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated.arm64.cuda_libraries import stand_in_for_cuda


def compiled(folder: Path, name: str, source: str, *needs: Path) -> Path:
    """Compile a library; which processor it is for does not matter here."""
    folder.mkdir(exist_ok=True)
    (folder / "source.c").write_text(source, "utf-8")
    command = ["gcc", "-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{name}", "-o", str(folder / name)]
    subprocess.run([*command, str(folder / "source.c"), *map(str, needs)], check=True)
    (folder / "source.c").unlink()
    return folder / name


def test_each_library_that_is_missing_gets_one_and_its_functions_lie_together(tmp_path: Path) -> None:
    cuda = compiled(tmp_path / "cuda", "libcudart.so.13", "int cudaMalloc(void) { return 0; }")
    blas = compiled(tmp_path / "cuda", "libcublas.so.13", "int cublasCreate(void) { return 0; }")
    other = compiled(tmp_path / "other", "libother.so.1", "int other(void) { return 0; }")
    source = "int cudaMalloc(void); int cublasCreate(void); int other(void);"
    source += "int cudaOwn(void) { return cudaMalloc() + cublasCreate() + other(); }"
    lib = compiled(tmp_path / "lib", "libtorch.so", source, cuda, blas, other).parent
    assert stand_in_for_cuda(lib) == ["libcublas.so.13", "libcudart.so.13"]
    assert {path.name for path in lib.iterdir()} == {
        *("libtorch.so", "libcublas.so.13", "libcudart.so.13", "libcuda_stand_in.so")
    }
    assert b"\0libcublas.so.13\0libcuda_stand_in.so\0" in (lib / "libcublas.so.13").read_bytes()
    functions = (lib / "libcuda_stand_in.so").read_bytes()
    assert functions[:4] == b"\x7fELF"
    assert b"\0cublasCreate\0cudaMalloc\0" in functions
    assert b"cudaOwn" not in functions
    assert b"\0other\0" not in functions
    assert stand_in_for_cuda(lib) == []


def test_a_torch_without_cuda_gets_none(tmp_path: Path) -> None:
    lib = compiled(tmp_path / "lib", "libtorch.so", "int f(void) { return 0; }").parent
    assert stand_in_for_cuda(lib) == []
    assert [path.name for path in lib.iterdir()] == ["libtorch.so"]


def test_a_library_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "libtorch.so").write_bytes(b"half of it")
    with pytest.raises(UserError, match=r"libtorch\.so is no library of arm64: remove its folder and prepare again"):
        stand_in_for_cuda(tmp_path)
