"""Broken and foreign Core ML packages, each refused by its text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.mil.ops import table as mil_ops
from conaclip_edge.runtime.mil.program import MilProgram
from tests.helpers.coreml_programs import edited, package


def broken(package: Path, path: Path, damage: Callable[[Path], None]) -> Path:
    shutil.copytree(package, path)
    damage(path)
    return path


def weight_file(path: Path) -> Path:
    return path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"


def cut(file: Path, share: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])


def point_to(path: Path, name: str, target: str) -> None:
    manifest = path / "Manifest.json"
    document = json.loads(manifest.read_text())
    for entry in document["itemInfoEntries"].values():
        if entry["name"] == name:
            entry["path"] = target
    manifest.write_text(json.dumps(document))


def link_out(path: Path) -> None:
    weights = weight_file(path).parent
    shutil.move(weights, path.with_name("elsewhere"))
    weights.symlink_to(path.with_name("elsewhere"))


def strike(file: Path, offset: int) -> None:
    data = bytearray(file.read_bytes())
    data[offset] ^= 0xFF
    file.write_bytes(data)


MODEL = "Data/com.apple.CoreML/model.mlmodel"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: shutil.rmtree(path), "no such Core ML package"),
        (lambda path: (path / "Manifest.json").unlink(), "Manifest.json is missing"),
        (lambda path: (path / "Manifest.json").write_text("{"), "not a readable package manifest"),
        (lambda path: (path / "Manifest.json").write_text("[1]"), "not a readable package manifest"),
        (
            lambda path: (path / "Manifest.json").write_text("{}"),
            "not a readable package manifest .*rootModelIdentifier",
        ),
        (lambda path: point_to(path, "model.mlmodel", "../../x"), r"points outside the package \('../../x'\)"),
        (lambda path: point_to(path, "model.mlmodel", "/etc/passwd"), r"points outside the package \('/etc/passwd'\)"),
        (lambda path: point_to(path, "weights", ".."), r"points outside the package \('..'\)"),
        (link_out, r"points outside the package \('com.apple.CoreML/weights'\)"),
        (lambda path: (path / MODEL).unlink(), f"{MODEL} is missing"),
        (lambda path: cut(path / MODEL, 0.5), f"{MODEL} is damaged"),
        (lambda path: weight_file(path).unlink(), "weights/weight.bin is missing"),
        (lambda path: cut(weight_file(path), 0.999), "weights/weight.bin is truncated"),  # within the last weight
        (lambda path: cut(weight_file(path), 0.5), "weights/weight.bin is truncated"),  # and before its record
        (lambda path: cut(weight_file(path), 0.0), "weights/weight.bin is truncated"),
        (lambda path: strike(weight_file(path), 64), "weights/weight.bin is damaged at byte 64"),
    ],
)
def test_broken_package_is_refused(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = broken(package("image fp16"), tmp_path / "broken.mlpackage", damage)
    with pytest.raises(UserError, match=message) as caught:
        MilProgram(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def first_operation(spec: Any, kind: str) -> Any:
    function = spec.mlProgram.functions["main"]
    return next(op for op in function.block_specializations[function.opset].operations if op.type == kind)


def rename_op(spec: Any) -> None:
    first_operation(spec, "softmax").type = "softmaximum"


def make_neural_network(spec: Any) -> None:
    spec.neuralNetwork.SetInParent()


def add_function(spec: Any) -> None:
    spec.mlProgram.functions["second"].CopyFrom(spec.mlProgram.functions["main"])


def add_state(spec: Any) -> None:
    spec.description.state.add().name = "cache"


def lose_body(spec: Any) -> None:
    spec.mlProgram.functions["main"].opset = "CoreML99"


def move_weight(spec: Any) -> None:
    function = spec.mlProgram.functions["main"]
    for operation in function.block_specializations[function.opset].operations:
        for value in operation.attributes.values():
            if value.WhichOneof("value") == "blobFileValue":
                value.blobFileValue.fileName = "@model_path/../secrets.bin"


def raise_version(spec: Any) -> None:
    spec.mlProgram.version = 2


def take_text(spec: Any) -> None:
    spec.description.input[0].type.stringType.SetInParent()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (rename_op, r"uses the op 'softmaximum' \(at '.*'\), which the reference interpreter does not know"),
        (make_neural_network, "holds a model of type 'neuralNetwork'; only 'mlProgram' can be run"),
        (add_function, r"has the functions \['main', 'second'\]; only a single 'main' can be run"),
        (add_state, "keeps state between calls"),
        (lose_body, "has no body for its opset 'CoreML99'"),
        (move_weight, r"a weight points outside the package \('@model_path/../secrets.bin'\)"),
        (raise_version, r"the program cannot be loaded \(Invalid program version\)"),
        (take_text, "input 'pixel_values' is a 'stringType'; only tensors and images can be given"),
    ],
)
def test_program_that_is_no_tower_is_refused(edit: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    path = edited(package("image fp16"), tmp_path / "edited.mlpackage", edit)
    with pytest.raises(UserError, match=message) as caught:
        MilProgram(path)
    assert str(path) in str(caught.value)


def test_input_that_an_op_does_not_take_is_refused_and_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    softmax = mil_ops.OPS["softmax"]
    monkeypatch.setitem(mil_ops.OPS, "softmax", lambda x: softmax(x, torch.tensor(-1)))
    with pytest.raises(UserError, match=r"\(softmax\) has the inputs \['axis'\], which the reference interpreter"):
        MilProgram(package("image fp16"))
