"""The model card's Python, run as it stands there: it gives the golden embeddings, whatever files the bundle has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conaclip_edge.bundle.card.platforms import SYSTEMS
from conaclip_edge.bundle.card.python_code import python_code
from conaclip_edge.bundle.golden import Golden, read_golden
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.bundle.open import open_bundle
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.export_bundle import export_bundle
from conaclip_edge.runtime.mil.package import read_package
from conaclip_edge.system.files import read_json

pytestmark = pytest.mark.long

PRECISIONS = {"onnx": "fp32", "executorch": "fp32", "coreml": "fp16"}
LEAST = {
    "onnx": 0.99999,
    "executorch": 0.99999,
    "coreml": 0.999,
}  # float16 is coarse for 16 numbers
_THEN = """
import sys
import numpy as np
from pathlib import Path
from safetensors.numpy import save_file
import json

golden = json.loads(Path("golden/golden.json").read_text())
texts = [embed_text(entry["text"]) for entry in golden["texts"]]
pictures = [embed_picture(f"golden/{name}") for name in golden["pictures"]]
save_file({"texts": np.stack(texts), "pictures": np.stack(pictures)}, sys.argv[1])
"""


@pytest.fixture(scope="module")
def bundle(bars: Path, tmp_path_factory: pytest.TempPathFactory, no_other_delegates: None) -> Path:
    """Real files of every target."""
    folder = tmp_path_factory.mktemp("card") / "bundle"
    targets = [ExportConfig(target=name, precision=precision) for name, precision in PRECISIONS.items()]
    export_bundle(bars / "student", targets, folder, jobs=0)
    return folder


@pytest.fixture(scope="module")
def golden(bundle: Path) -> Golden:
    return read_golden(bundle / "golden")


def cosines(found: np.ndarray, expected: np.ndarray) -> float:
    return float((found * expected).sum(axis=1).min())


@pytest.mark.parametrize("target", PRECISIONS)
def test_the_code_of_the_card_gives_the_golden_embeddings(bundle, golden, target, tmp_path):
    manifest = read_manifest(bundle)
    alone = manifest.model_copy(update={"files": tuple(f for f in manifest.files if f.target == target)})
    code = python_code(alone, read_json(bundle / "preprocess.json", "preprocessing"))
    (tmp_path / "card.py").write_text(code + "\n" + _THEN, "utf-8")
    command = [sys.executable, str(tmp_path / "card.py"), str(tmp_path / "found.safetensors")]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    from safetensors.numpy import load_file

    found = load_file(tmp_path / "found.safetensors")
    assert cosines(found["texts"], golden.text_embeddings) > LEAST[target]
    assert cosines(found["pictures"], golden.picture_embeddings) > LEAST[target]


def test_the_packages_need_the_systems_that_the_card_names(bundle):
    for file in read_manifest(bundle).files:
        if file.target == "coreml":
            version, systems = SYSTEMS[file.settings["deployment"]]
            assert read_package(bundle / file.path)[0].specificationVersion == version
            assert systems == "iOS 17, macOS 14"


def oddly(values: np.ndarray, kind: str) -> np.ndarray:
    """The same values in memory that is laid out in another way."""
    if kind == "channels last":
        return np.ascontiguousarray(np.moveaxis(values, 1, -1)).transpose(0, 3, 1, 2)
    if kind == "every second":
        return np.repeat(values, 2, axis=-1)[..., ::2]
    if kind == "backwards":
        return np.ascontiguousarray(values[..., ::-1])[..., ::-1]
    if kind == "column by column":
        return np.asfortranarray(values)
    return np.broadcast_to(values[0], values.shape) if kind == "broadcast" else values.astype(np.float64)


@pytest.mark.parametrize("kind", ["channels last", "every second", "backwards", "column by column", "broadcast"])
@pytest.mark.parametrize("target", PRECISIONS)
def test_arrays_of_odd_strides_give_the_same_embedding(bundle, golden, target, kind):
    opened = open_bundle(bundle, target)
    pixels = golden.pixels[:1].astype(np.float32) / 255
    odd = oddly(pixels, kind)
    assert (odd == pixels).all()
    np.testing.assert_array_equal(opened.embed_pixels(odd), opened.embed_pixels(pixels))
    assert cosines(opened.embed_pixels(odd), golden.picture_embeddings[:1]) > LEAST[target]
