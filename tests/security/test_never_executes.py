"""Loading never executes: nothing in the package could, and files made to try it are refused in one line."""

from __future__ import annotations

import ast
import gzip
import json
import os
import shutil
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import conaclip_edge
from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.parse import load_yaml, override, parse
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.preprocess import BadPicture, decode
from conaclip_edge.errors import ConaclipError, UserError
from tests.security import hostile

SOURCES = sorted(Path(conaclip_edge.__file__).parent.rglob("*.py"))
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "zipfile", "pty"}
NAMES = {"eval", "exec", "compile", "__import__", "breakpoint"}
CALLS = {
    "yaml": {"load", "load_all", "unsafe_load", "full_load", "unsafe_load_all", "full_load_all"},
    "os": {"system", "popen", "execv", "execve", "execvp", "spawnl", "spawnv"},
    "shutil": {"unpack_archive"},
}
ATTRIBUTES = {"extractall", "extract", "read_pickle", "from_pickle"}


def dangers(source: str) -> list[str]:
    """Name what in a module could run what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if each.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            found += call_dangers(node)
    return found


def call_dangers(call: ast.Call) -> list[str]:
    keywords = {each.arg: ast.unparse(each.value) for each in call.keywords}
    found = [f"{name}=True" for name in ("shell", "allow_pickle", "trust_remote_code") if keywords.get(name) == "True"]
    if isinstance(call.func, ast.Name) and call.func.id in NAMES:
        found.append(call.func.id)
    if isinstance(call.func, ast.Attribute):
        owner, name = ast.unparse(call.func.value), call.func.attr
        if name in CALLS.get(owner, ()) or name in ATTRIBUTES:
            found.append(f"{owner}.{name}")
        if (owner, name) == ("torch", "load") and keywords.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
    return found


def test_no_module_of_the_package_can_run_what_it_reads():
    assert len(SOURCES) > 100
    assert {path.name: found for path in SOURCES if (found := dangers(path.read_text("utf-8")))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch; torch.load(p)",
        "torch.load(p, weights_only=False)",
        "yaml.load(t, Loader=yaml.Loader)",
        "eval(t)",
        "exec(t)",
        "subprocess.run(c, shell=True)",
        "np.load(p, allow_pickle=True)",
        "tarfile.open(p).extractall(d)",
        "AutoModel.from_pretrained(p, trust_remote_code=True)",
        "os.system(t)",
    ],
)
def test_the_scan_finds(source):
    assert dangers(source)


def refused(call, *words: str) -> str:
    """Run a call that has to end in one line that holds the words."""
    with pytest.raises(ConaclipError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 2000
    assert all(word in message for word in words), message
    return message


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run in the test's own folder, and find there whether anything was executed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    yield
    assert not Path("executed").exists()


def test_the_hostile_pickle_would_run_if_it_were_unpickled():
    import pickle

    pickle.loads(hostile.hostile_pickle())
    Path("executed").rmdir()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
def test_a_pickled_checkpoint_is_refused(name, world):
    from conaclip_edge.models.student.checkpoint import load_student
    from conaclip_edge.models.teacher.load import load_teacher

    for kind, load in (("student", load_student), ("teacher", lambda folder: load_teacher(str(folder)))):
        folder = Path(kind)
        shutil.copytree(world / "teacher", folder, ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / name).write_bytes(hostile.hostile_pickle())
        refused(lambda folder=folder, load=load: load(folder))


@pytest.mark.parametrize("name", ["a.pkl", "a.pickle", "a.pth", "a.pt", "a.jpg.pyd"])
def test_a_shard_with_a_pickle_is_refused(name):
    hostile.write_tar(Path("d/0.tar"), (tarfile.TarInfo(name), hostile.hostile_pickle()))
    refused(lambda: read_pairs(DataConfig(format="webdataset", path=Path("d"))), "could run code")


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "device", "pipe"])
def test_a_shard_with_links_or_devices_is_refused(kind):
    info = tarfile.TarInfo("a.jpg")
    kinds = {"symbolic link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}
    info.type, info.linkname = kinds.get(kind, tarfile.FIFOTYPE), "/etc/passwd"
    hostile.write_tar(Path("d/0.tar"), (info, b""))
    refused(lambda: read_pairs(DataConfig(format="webdataset", path=Path("d"))), "is a link or a device")


def test_a_shard_whose_names_leave_the_folder_writes_nothing_outside(tmp_path):
    data = hostile.png_of_zeros(4, 4)
    names = ("../../outside", "/tmp/conaclip-outside", "a/../../b")
    members = [(tarfile.TarInfo(f"{n}.png"), data + n.encode()) for n in names]
    members += [(tarfile.TarInfo(f"{n}.txt"), b"a caption") for n in names]
    hostile.write_tar(tmp_path / "in/d/0.tar", *sorted(members, key=lambda each: each[0].name))
    pairs = read_pairs(DataConfig(format="webdataset", path=tmp_path / "in/d"))
    assert len(pairs) == 3
    assert not list(tmp_path.rglob("*outside*"))
    assert not Path("/tmp/conaclip-outside.png").exists()
    assert all("/" not in key for key in pairs.keys)


def test_a_sparse_member_that_claims_seven_gigabytes_is_refused(bounded):
    hostile.sparse_tar(Path("d/0.tar"), "a.jpg", 7 * 1024**3)
    refused(lambda: read_pairs(DataConfig(format="webdataset", path=Path("d"))), "sparse")


@pytest.mark.parametrize("time", [0, 1795000735])  # the second makes bytes that tarfile takes for an empty member
def test_a_compressed_shard_is_refused(time, bounded):
    Path("d").mkdir()
    Path("d/0.tar").write_bytes(gzip.compress(bytes(200 * 1024**2), mtime=time))
    refused(lambda: read_pairs(DataConfig(format="webdataset", path=Path("d"))), "0.tar is compressed")


@pytest.mark.parametrize(("width", "height"), [(40_000, 40_000), (60_000, 4_000)])
def test_a_picture_bomb_is_refused_by_its_header(width, height, bounded):
    data = bytearray(hostile.png_of_zeros(2, 2))
    data[16:24] = width.to_bytes(4) + height.to_bytes(4)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    with pytest.raises(BadPicture, match="max_pixels"):
        decode(bytes(data))


def test_a_picture_of_the_largest_size_takes_less_than_2_gb(bounded):
    assert decode(hostile.png_of_zeros(14_000, 15_000)).size == (14_000, 15_000)


def test_a_text_chunk_bomb_in_a_png_is_refused(bounded):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    whole = hostile.png_of_zeros(2, 2)
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(500 * 1024**2), 9))
    with pytest.raises(BadPicture):
        decode(whole[:33] + bomb + whole[33:])


@pytest.mark.parametrize("which", hostile.YAML)
def test_yaml_that_is_more_than_plain_values_is_refused(which, bounded):
    Path("recipe.yaml").write_text(hostile.YAML[which], "utf-8")
    refused(lambda: parse(DistillConfig, load_yaml(Path("recipe.yaml")), "recipe.yaml"), "recipe.yaml")


@pytest.mark.parametrize("which", ["!!python/object/apply:os.mkdir [executed]", "2001-99-99", "[" * 5000])
def test_yaml_of_a_setting_is_plain_too(which):
    refused(lambda: override({}, [f"name={which}"]), "--set")


@pytest.mark.parametrize("length", [10 * 1024**3, 2**63, 2**64 - 1])
def test_a_safetensors_header_of_ten_gigabytes_is_refused(length, world, bounded):
    from conaclip_edge.models.student.checkpoint import load_student
    from conaclip_edge.teacher_cache.safetensors_mmap import map_tensor

    shutil.copytree(world / "teacher", "student")
    for data in (hostile.safetensors_of(length), hostile.safetensors_of(2, b"{}"), b""):
        Path("student/model.safetensors").write_bytes(data)
        refused(lambda: load_student(Path("student")), "model.safetensors")
        refused(lambda: map_tensor(Path("student/model.safetensors"), "embedding"), "model.safetensors")


def test_a_safetensors_tensor_that_claims_ten_gigabytes_is_refused(world, bounded):
    from conaclip_edge.models.student.checkpoint import load_student
    from conaclip_edge.teacher_cache.safetensors_mmap import map_tensor

    shutil.copytree(world / "teacher", "student")
    entry = {"dtype": "F32", "shape": [10 * 2**28], "data_offsets": [0, 10 * 2**30]}
    header = json.dumps({"embedding": entry}).encode()
    Path("student/model.safetensors").write_bytes(hostile.safetensors_of(len(header), header))
    refused(lambda: load_student(Path("student")), "model.safetensors")
    refused(lambda: map_tensor(Path("student/model.safetensors"), "embedding"), "model.safetensors")


@pytest.mark.parametrize("location", ["../secret.bin", "{absolute}", "link.bin"])
@pytest.mark.parametrize("suffix", ["onnx", "ort"])
def test_onnx_weights_outside_the_bundle_are_not_read(location, suffix, tmp_path):
    from onnx import TensorProto, helper

    from conaclip_edge.runtime.open_tower import open_tower

    Path("bundle").mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    os.symlink(secret, "bundle/link.bin")
    weight = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location.format(absolute=secret)), ("offset", "0"), ("length", "16")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    ends = [helper.make_tensor_value_info(name, 1, [4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    Path(f"bundle/image.{suffix}").write_bytes(model.SerializeToString())
    refused(lambda: open_tower(Path(f"bundle/image.{suffix}")), "cannot load")


def names() -> list[str]:
    return ["<script>alert(1)</script>.png", '"><img src=x onerror=alert(1)>.png', "'-alert(1)-'.png", "{{7*7}}.png"]


def test_html_in_captions_and_names_stays_text_in_the_report(tmp_path):
    from html.parser import HTMLParser

    from conaclip_edge.benchmarks.report.html import render_html
    from conaclip_edge.benchmarks.schema.report import parse_report
    from tests.helpers.benchmarks.sample import query, sample_values

    values = sample_values()
    values["gallery"] = [query("".join(names()), "failure", 3, 9)]
    for hits in values["gallery"][0]["top"].values():
        for hit in hits:
            hit["caption"] = "".join(names())
    values["model"] |= {"name": names()[0], "bundle": names()[1]}
    values["dataset"] |= {"name": names()[2], "licence": names()[1]}
    report = parse_report(values, "the sample")
    found: list[tuple[str, dict[str, str | None]]] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    page = render_html(report)
    Tags().feed(page)
    assert "alert(1)" in page
    assert not [tag for tag, _ in found if tag in ("script", "iframe", "object", "embed")]
    assert not [values for _, values in found if any(name.startswith("on") for name in values)]
    assert not [values for _, values in found if (values.get("src") or "").startswith(("x", "http", "javascript"))]
    assert "{{7*7}}" in page


def test_html_in_file_names_stays_text_in_what_the_pages_are_given(tmp_path):
    from starlette.testclient import TestClient

    from conaclip_edge.search.commands import index_pictures
    from conaclip_edge.search.query import open_searcher
    from conaclip_edge.web.server.app import make_app
    from tests.helpers.search.small_index import write_bundle

    bundle = write_bundle(tmp_path / "bundle")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, name in enumerate(each.replace("/", "_") for each in names()):
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)  # no two alike, so none is folded
        Image.fromarray(noise).save(pictures / name)
    index_pictures(bundle, pictures, tmp_path / "index")
    app = make_app(open_searcher(tmp_path / "index"), bundle, "127.0.0.1")
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    for answer in (client.get("/about"), client.post("/search", params={"text": "red"})):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert len(answer.json().get("hits") or answer.json()["sample"]) == len(names())
    for path in (Path(conaclip_edge.__file__).parent / "web" / "page").glob("*.js"):
        text = path.read_text("utf-8")
        assert not any(way in text for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"))


def test_a_core_ml_package_that_points_outside_is_refused(tmp_path):
    from conaclip_edge.runtime.open_tower import open_tower
    from tests.helpers.coreml_programs import package

    whole = package("image fp16")
    shutil.copytree(whole, "outside.mlpackage")
    for target in ("../../secret", "/etc/passwd", "com.apple.CoreML/../../../x"):
        manifest = json.loads(Path(whole, "Manifest.json").read_text())
        for entry in manifest["itemInfoEntries"].values():
            entry["path"] = target
        Path("outside.mlpackage/Manifest.json").write_text(json.dumps(manifest))
        refused(lambda: open_tower(Path("outside.mlpackage")), "outside the package")


def test_a_bundle_whose_golden_files_point_outside_is_refused(tmp_path):
    from conaclip_edge.bundle.golden import read_golden

    content = {
        "schema": "conaclip-edge/golden/1",
        "pixel_tolerance": 0.1,
        "min_cosine": {"int8": 0.9, "fp16": 0.9, "fp32": 0.9},
        "texts": [],
    }
    for name in ("../../etc/passwd", "/etc/passwd", "..\\x", "a\0b"):
        Path("golden.json").write_text(json.dumps(content | {"pictures": [name]}))
        with pytest.raises(UserError, match="it was not opened"):
            read_golden(Path())


def test_a_picture_of_which_a_tower_makes_nan_is_left_out_of_the_index_and_named(tmp_path):
    from conaclip_edge.search.commands import index_pictures, search_pictures
    from tests.helpers.search.small_index import write_bundle

    bundle = write_bundle(tmp_path / "bundle")  # its picture embedding of black is 0 / 0
    (tmp_path / "pictures").mkdir()
    for name, colour in (("black.png", 0), ("white.png", 255)):
        Image.new("RGB", (9, 9), (colour,) * 3).save(tmp_path / "pictures" / name)
    outcome = index_pictures(bundle, tmp_path / "pictures", tmp_path / "index")
    assert [(one.path, "not finite" in one.reason) for one in outcome.broken] == [("black.png", True)]
    refused(lambda: search_pictures(tmp_path / "index", "", 5, tmp_path / "pictures/black.png", None), "not finite")
