"""`import conaclip_edge`: its names, which cost nothing before they are used, and the examples of their docstrings."""

from __future__ import annotations

import doctest
import inspect
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import conaclip_edge
from conaclip_edge.errors import UserError
from conaclip_edge.search.folder_index import FolderIndex
from tests.helpers.search.search_world import SearchWorld

ROOT = Path(__file__).parents[2]
SUITE = {
    "split": "val",
    "comparison": [],
    "threads": [1],
    "batches": [1],
    "inputs": 2,
    "rounds": {"warmup": 1, "min_rounds": 8, "max_rounds": 8, "seconds": 0.1},
    "loads": 1,
    "index": 20,
    "bootstrap": 50,
    "gallery": {"queries": [], "examples": 0, "failures": 0},
    "min_relative_recall": 0.3,
}
DOCUMENTED = {
    f"{name}.{member}": getattr(value, member)
    for name, value in [(name, getattr(conaclip_edge, name)) for name in conaclip_edge.__all__]
    if inspect.isclass(value)
    for member in ("embed_images", "embed_texts")
}
DOCUMENTED |= {f"FolderIndex.{member}": getattr(FolderIndex, member) for member in ("add", "search")}
DOCUMENTED |= {name: getattr(conaclip_edge, name) for name in conaclip_edge.__all__ if name != "Bundle"}


@pytest.fixture
def folder(
    searched: SearchWorld, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Callable[..., Path]
) -> Path:
    """A working folder with what the examples name: bundle, index, pictures, student, and three YAML files."""
    for name, path in {
        "bundle": searched.bundle,
        "index": searched.index,
        "pictures": searched.pictures,
        "student": searched.bundle.with_name("student"),
    }.items():
        (tmp_path / name).symlink_to(path)
    assert recipe().name == "recipe.yaml"
    data = {"format": "imagefolder", "path": str(world / "data")}
    teacher = {"name": "teacher", "base": str(world / "teacher"), "data": data, "batch_size": 8, "train_layers": 1}
    (tmp_path / "teacher.yaml").write_text(yaml.safe_dump(teacher), "utf-8")
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(SUITE), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))
    return tmp_path


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_example_of_each_name_does_what_it_shows(folder: Path, name: str) -> None:
    text = inspect.getdoc(DOCUMENTED[name]) or ""
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert example.examples, "it has no example"
    report = io.StringIO()
    found = doctest.DocTestRunner(verbose=False).run(example, out=report.write)
    assert found.failed == 0, report.getvalue()


def test_the_readme_s_python_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    for name in ("runs/mine", "Pictures"):
        (folder / name).mkdir(parents=True)
    for name in ("bundle", "index"):
        (folder / "runs" / "mine" / name).symlink_to(folder / name)
    shutil.copy(folder / "pictures" / "test-0.png", folder / "Pictures" / "cat.png")
    exec(compile(block, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_import_brings_no_library_and_names_are_listed() -> None:
    code = (
        "import sys, conaclip_edge; print(*(name.partition('.')[0] for name in sys.modules), '|', *dir(conaclip_edge))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, listed = (set(line.split()) for line in done.stdout.split("|"))
    assert loaded - sys.stdlib_module_names - {"conaclip_edge"} <= {"__main__", "_distutils_hack", "sitecustomize"}
    assert set(conaclip_edge.__all__) <= listed


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        conaclip_edge.distil  # type: ignore[attr-defined]  # noqa: B018


def test_pictures_may_be_files_bytes_or_opened(folder: Path) -> None:
    from PIL import Image

    bundle = conaclip_edge.open_bundle(folder / "bundle")
    file = folder / "pictures" / "test-0.png"
    with Image.open(file) as opened:
        vectors = bundle.embed_images([file, str(file), file.read_bytes(), opened])
    assert (vectors == vectors[0]).all()
    assert bundle.embed_images([]).shape == bundle.embed_texts([]).shape == (0, bundle.dim)


@pytest.mark.parametrize(("picture", "message"), [("gone.png", "gone.png cannot be read: No such"), (b"no", "decoded")])
def test_a_picture_that_cannot_be_used_is_an_error_that_names_it(
    folder: Path, picture: str | bytes, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        conaclip_edge.open_bundle("bundle").embed_images([picture])
    with pytest.raises(UserError, match="gone.png" if isinstance(picture, str) else "decoded"):
        conaclip_edge.open_index("index").search(picture=picture)


def test_an_index_sees_what_was_added_since_the_last_search(folder: Path) -> None:
    from PIL import Image

    (folder / "mine").mkdir()
    Image.new("RGB", (40, 40), "red").save(folder / "mine" / "red.png")
    index = conaclip_edge.open_index("mine-index", "bundle")
    index.add("mine")
    assert [hit.path.name for hit in index.search("w4")] == ["red.png"]
    Image.new("RGB", (40, 40), "blue").save(folder / "mine" / "blue.png")
    index.add(folder / "mine")
    assert len(index) == len(index.search("w4")) == 2
    index.close()


def test_a_new_index_needs_a_bundle(folder: Path) -> None:
    with pytest.raises(UserError, match="none-yet"):
        conaclip_edge.open_index("none-yet").add("pictures")
