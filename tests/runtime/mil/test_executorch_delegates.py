"""The Core ML package inside an ExecuTorch program: taken out whole, and the same function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.mil.executorch_delegates import unpack_delegates
from conaclip_edge.runtime.mil.program import MilProgram
from tests.helpers.coreml_programs import ct, pictures, run_torch, seeded, worst_cosine

TOWER = seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.Flatten(), nn.LayerNorm(128), nn.Linear(128, 16)))


@pytest.fixture(scope="module")
def delegated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tower as an ExecuTorch program with one Core ML delegate."""
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner
    from executorch.exir import to_edge_transform_and_lower

    specs = CoreMLBackend.generate_compile_specs(
        minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT16
    )
    exported = torch.export.export(TOWER, (torch.from_numpy(pictures(1)),))
    lowered = to_edge_transform_and_lower(exported, partitioner=[CoreMLPartitioner(compile_specs=specs)])
    path = tmp_path_factory.mktemp("pte") / "tower.pte"
    path.write_bytes(lowered.to_executorch().buffer)
    return path


def blob_of(pte: Path) -> bytes:
    from executorch.exir._serialize._program import deserialize_pte_binary

    return bytes(deserialize_pte_binary(pte.read_bytes()).program.backend_delegate_data[0].data)


def test_unpacked_delegate_is_what_executorch_unpacks_and_runs_as_the_tower(delegated: Path, tmp_path: Path) -> None:
    from executorch.backends.apple.coreml import executorchcoreml

    (package,) = unpack_delegates(delegated, tmp_path / "ours")
    assert package.name == "0.mlpackage"
    (tmp_path / "theirs").mkdir()
    assert executorchcoreml.unflatten_directory_contents(blob_of(delegated), str(tmp_path / "theirs"))
    theirs = tmp_path / "theirs" / "lowered_module" / "model.mlpackage"
    files = {file.relative_to(theirs): file.read_bytes() for file in theirs.rglob("*") if file.is_file()}
    assert files == {file.relative_to(package): file.read_bytes() for file in package.rglob("*") if file.is_file()}
    program = MilProgram(package)
    (name, spec), x = next(iter(program.inputs.items())), pictures(1)
    (got,) = program({name: x.astype(spec.dtype)}).values()
    assert worst_cosine(got, run_torch(TOWER, x)) > 0.99999


def damaged(pte: Path, path: Path, damage: dict[str, Any]) -> Path:
    """Copy a program and change the first node of its delegate's file list, without moving a byte."""
    data, blob = pte.read_bytes(), blob_of(pte)
    nodes_text = blob[::-1].decode("latin-1")
    document, end = json.JSONDecoder().raw_decode(nodes_text)
    for index, node in enumerate(document["nodes"]):
        if node["name"] == "Manifest.json":
            document["nodes"][index] |= damage.get("node", {})
        if "rename" in damage and "Manifest.json" in node["children"]:
            node["children"][damage["rename"]] = node["children"].pop("Manifest.json")
    text = json.dumps(document, separators=(",", ":"))
    assert len(text) <= end, "the new list must fit into the place of the old one"
    changed = (text + " " * (end - len(text)) + nodes_text[end:]).encode("latin-1")[::-1]
    path.write_bytes(data.replace(blob, changed))
    return path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"rename": "../../evil"}, r"'../../evil' is no file name"),
        ({"node": {"dataRegion": {"offset": 0, "size": 99999}}}, r"Manifest.json lies outside the delegate's data"),
    ],
)
def test_delegate_that_leaves_its_folder_or_its_data_is_refused(
    damage: dict[str, Any], message: str, delegated: Path, tmp_path: Path
) -> None:
    path = damaged(delegated, tmp_path / "damaged.pte", damage)
    with pytest.raises(UserError, match=f"its Core ML delegate cannot be unpacked .*{message}"):
        unpack_delegates(path, tmp_path / "out" / "deep")
    assert not (tmp_path / "evil").exists()


def test_file_that_is_no_executorch_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.pte"
    with pytest.raises(UserError, match="no such ExecuTorch program"):
        unpack_delegates(path, tmp_path / "out")
    path.write_text("nothing of the kind")
    with pytest.raises(UserError, match="not a readable ExecuTorch program"):
        unpack_delegates(path, tmp_path / "out")


def test_program_without_a_core_ml_delegate_is_refused(tmp_path: Path) -> None:
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(nn.ReLU(), (torch.ones(2),))
    path = tmp_path / "plain.pte"
    path.write_bytes(to_edge_transform_and_lower(exported).to_executorch().buffer)
    with pytest.raises(UserError, match="holds no Core ML delegate"):
        unpack_delegates(path, tmp_path / "out")
