"""A SigLIP folder of others goes through the commands without a distillation, to each target."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.bundle.open import open_bundle
from tests.helpers.command_line import Run
from tests.helpers.models.tiny_teachers import CONTEXT, siglip, siglip2, siglip2_fixed

pytestmark = pytest.mark.usefixtures("no_other_delegates")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SigLIP of one layer, which no test may change; its attention is soft, so that int8 does not turn it."""
    folder = tmp_path_factory.mktemp("models") / "siglip"
    torch.manual_seed(0)
    siglip(folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if ".layers.1." not in name}
    soft = {name: value / 4 if value.ndim > 1 and ".mlp." not in name else value for name, value in kept.items()}
    save_file(soft, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text("utf-8"))
    for part in ("text_config", "vision_config"):
        config[part]["num_hidden_layers"] = 1
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def done(result: tuple[int, str, str]) -> str:
    """Return what a command that ended well printed."""
    code, out, err = result
    assert code == 0, err
    return out


@pytest.mark.parametrize("target", ["onnx", "executorch", "coreml"])
def test_a_siglip_is_exported_to_int8_and_verified(run: Run, world: Path, model: Path, target: str) -> None:
    few = ("--set", "min_cosine=0.9", "--set", "min_relative_recall=0.5")
    done(run("export", model, "--data", world / "data", "--target", target, "--out", "bundle", *few))
    manifest = read_manifest(Path("bundle"))
    assert {(file.tower, file.precision) for file in manifest.files} == {("image", "int8"), ("text", "int8")}
    assert done(run("verify", "bundle")).splitlines()[-1] == "ok"
    bundle = open_bundle("bundle", target)
    assert bundle.ids("a cat").shape == (CONTEXT,)
    assert bundle.embed_texts(["a cat", "two dogs"]).shape == (2, 32)
    preprocess = json.loads(Path("bundle/preprocess.json").read_text("utf-8"))
    assert (preprocess["crop"], preprocess["resize"]["width"]) == (None, 32)


def test_pictures_are_searched_with_siglip_2(run: Run, world: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    siglip2_fixed(tmp_path / "siglip2")
    exact = ("--target", "onnx", "--precision", "fp32")
    done(run("export", tmp_path / "siglip2", "--data", world / "data", *exact, "--out", "bundle"))
    done(run("index", "bundle", world / "data"))
    hits = json.loads(done(run("search", "index", "A Red Box", "--json")))["hits"]
    again = json.loads(done(run("search", "index", "a red box", "--json")))["hits"]
    assert [hit["path"] for hit in hits] == [hit["path"] for hit in again] != []
    assert json.loads(done(run("evaluate", "bundle", "--data", world / "data", "--json")))["dataset"]["pictures"] > 0


def test_siglip_2_for_pictures_of_any_shape_is_named(run: Run, world: Path, tmp_path: Path) -> None:
    siglip2(tmp_path / "naflex")
    code, _, err = run("export", tmp_path / "naflex", "--data", world / "data")
    assert code == 2
    assert "is a SigLIP 2 for pictures of any shape (NaFlex), whose towers have no form for export" in err
