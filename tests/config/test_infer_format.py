"""Which format lies at a path, and which keys a format reads."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.infer_format import with_format
from conaclip_edge.config.load import benchmark_suite, data_config, distill_recipe, study_recipe
from conaclip_edge.errors import UserError

TABLE = b"a disc\t" + base64.b64encode(b"x" * 100) + b"\n"
KINDS = {
    "metadata.jsonl beside pictures": (["metadata.jsonl", "a.jpg"], "imagefolder", "metadata.jsonl"),
    "metadata.csv below": (["train/metadata.csv", "train/a.jpg"], "imagefolder", "train/metadata.csv"),
    "metadata.parquet": (["metadata.parquet", "a.jpg"], "imagefolder", "metadata.parquet"),
    "a table of another name": (["labels.csv", "a.jpg"], "imagefolder", "1 picture and labels.csv"),
    "texts beside pictures": (["x/a.jpg", "x/a.txt", "README.txt"], "imagefolder", "1 picture, 1 with a .txt file"),
    "pictures alone": (["a.HEIC", "x/b.avif", "c.webp"], "imagefolder", "3 pictures without captions"),
    "shards": (["00000.tar", "00001.tar"], "webdataset", "00000.tar"),
    "shards with their lists": (["0.tar", "0.parquet", "0_stats.json"], "webdataset", "0.tar"),
    "parquet": (["data/train-0.parquet", "README.md"], "parquet", "data/train-0.parquet"),
    "karpathy": (["dataset_flickr30k.json", "images/a.jpg"], "karpathy", "dataset_flickr30k.json"),
    "coco": (["annotations/captions_val2017.json", "val2017/a.jpg"], "coco", "annotations/captions_val2017.json"),
    "easynlp": (["train.tsv", "valid.tsv"], "easynlp", "train.tsv"),
}


def lay(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(TABLE if name.endswith(".tsv") else b"")
    return folder


@pytest.mark.parametrize(("names", "kind", "why"), KINDS.values(), ids=KINDS)
def test_the_format_is_found_and_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str], kind: str, why: str
) -> None:
    folder = lay(tmp_path / "d", names)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: {{path: {folder}}}\nteacher: t\n", "utf-8")
    reads = [lambda: data_config(folder), lambda: data_config(recipe), lambda: distill_recipe(recipe, []).data]
    reads += [lambda: study_recipe(recipe, []).recipe.data, lambda: benchmark_suite(None, [], folder).data]
    for read in reads:
        config = read()
        assert config is not None
        assert (config.format, config.path) == (kind, folder)
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.startswith(f"data: {folder} is read as format {kind} ({why}")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("x.tar", b"", "webdataset"),
        ("x.parquet", b"", "parquet"),
        ("x.tsv", TABLE, "easynlp"),
        ("x.tsv", b"file_name\ttext\na.jpg\tx\n", "imagefolder"),
        ("x.csv", b"", "imagefolder"),
        ("x.jsonl", b"", "imagefolder"),
        ("x.json", b'{"images": [{"sentences": []}]}', "karpathy"),
        ("x.json", b'{"images": [], "annotations": [{"caption": "x"}]}', "coco"),
    ],
)
def test_a_file_has_a_format_too(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert with_format(DataConfig(path=tmp_path / name)).format == kind
    assert data_config(tmp_path / name).format == kind


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["a.jpg", "0.tar"],
            r"several formats: webdataset \(0\.tar\) and imagefolder \(1 picture .*\. Say which: data\.f",
        ),
        (
            ["a.parquet", "0.tar"],
            r"several formats: webdataset \(0\.tar\) and parquet \(a\.parquet\)\. Say which: data\.fo",
        ),
        (
            ["dataset_coco.json", "captions_val2017.json"],
            r"several formats: coco \(.*\) and karpathy \(dataset_coco\.json",
        ),
        ([], r"^no data set at .*: a recipe \(YAML with a data section\) is needed, or a folder of pictures"),
        (["notes.txt", ".hidden.jpg"], r"^no data set at "),
    ],
)
def test_what_is_not_clear_is_an_error_of_a_line(tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(UserError, match=message):
        with_format(DataConfig(path=lay(tmp_path / "d", names)))


def test_one_picture_is_not_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.jpg is one picture\. Name the folder that it lies in: data\.path=/"):
        data_config(lay(tmp_path, ["a.jpg"]) / "a.jpg")


def test_nothing_at_the_path_is_an_error_of_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no file or folder /.*/nowhere\. Correct data\.path"):
        with_format(DataConfig(path=tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"^no recipe, file or folder /.*/nowhere to read data from"):
        data_config(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"^data\.path is not set: name a folder or file"):
        with_format(DataConfig())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"format": "imagefolder", "images": "x"},
            r"data\.images is not read by format 'imagefolder', which has the ke",
        ),
        ({"format": "imagefolder", "split": "random"}, r"data\.split is not read by format 'imagefolder'"),
        ({"format": "imagefolder", "fold": 2}, r"recipe\.yaml.*data\.fold is not read by format 'imagefolder'"),
        (
            {"format": "parquet", "fold": 1},
            r"data\.fold is not read by format 'parquet', which has the keys path, url,",
        ),
        ({"format": "webdataset", "unnamed": False}, r"data\.unnamed is not read"),
        (
            {"format": "coco", "picture_size": 96},
            r"data\.picture_size is not read by format 'coco', .* path, images, val_",
        ),
        (
            {"format": "openmoji", "path": "d"},
            r"data\.path is not read by format 'openmoji', .*leave it out: it is found by",
        ),
        ({"format": "openmoji", "images": "d"}, r"data\.images is not read by format 'openmoji'"),
        ({"picture_size": 96}, r"data\.picture_size is not read by data at a path without data\.format"),
    ],
)
def test_a_key_that_the_format_does_not_read_is_refused(tmp_path: Path, data: dict[str, object], message: str) -> None:
    path = {} if data.get("format") == "openmoji" else {"path": str(tmp_path)}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"data": path | data, "teacher": "t"}), "utf-8")
    for read in (lambda: distill_recipe(recipe, []), lambda: data_config(recipe)):
        with pytest.raises(UserError, match=message) as caught:
            read()
        assert str(caught.value).isprintable()


def test_a_path_for_the_demo_s_data_is_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the demo's recipe: data\.path is not read by format 'openmoji'"):
        distill_recipe(None, [f"data.path={tmp_path}"])
    lay(tmp_path, ["a.jpg"])
    assert distill_recipe(None, [f"data={{path: {tmp_path}}}"]).data.format == "imagefolder"


def test_a_large_folder_is_looked_at_in_a_moment(tmp_path: Path) -> None:
    lay(tmp_path, [f"{i % 20}/{i}.jpg" for i in range(3000)])
    started = time.process_time()
    with_format(DataConfig(path=tmp_path))
    assert time.process_time() - started < 1


def test_linked_folders_are_looked_into_but_not_in_circles(tmp_path: Path) -> None:
    lay(tmp_path / "elsewhere", ["0.tar"])
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "here").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "d" / "round").symlink_to(tmp_path / "d")
    assert with_format(DataConfig(path=tmp_path / "d")).format == "webdataset"


@pytest.mark.parametrize("kind", ["imagefolder", "webdataset", "coco"])
def test_what_a_recipe_names_has_to_be_there_where_that_is_asked(tmp_path: Path, kind: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: {{format: {kind}, path: {tmp_path / 'gone'}}}\nteacher: t\n", "utf-8")
    assert distill_recipe(recipe, []).data.format == kind
    for read in (distill_recipe, study_recipe):
        with pytest.raises(UserError, match=r"^no file or folder /.*/gone\. Correct data\.path"):
            read(recipe, [], check=True)


def test_a_recipe_with_every_key_at_its_default_is_no_contradiction(tmp_path: Path) -> None:
    values = DataConfig(format="imagefolder", path=tmp_path).model_dump(mode="json")
    assert with_format(DataConfig(**values)) == DataConfig(format="imagefolder", path=tmp_path)
