"""embed: files that others load, resumed, shared among workers, and never mixed with another model's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from conaclip_edge import embed as module
from conaclip_edge.bundle.open import open_bundle
from tests.helpers.command_line import Run


@pytest.fixture
def pictures(world: Path, tmp_path: Path) -> Path:
    """48 captioned drawings and one that cannot be read."""
    folder = shutil.copytree(world / "data", tmp_path / "Pictures")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def rows(home: Path, name: str) -> list[dict[str, str]]:
    files = sorted((home / name).glob("*.parquet"), key=lambda file: int(file.stem.rpartition("_")[2]))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def vectors(home: Path, name: str) -> np.ndarray:
    files = sorted((home / name).glob("*.npy"), key=lambda file: int(file.stem.rpartition("_")[2]))
    return np.concatenate([np.load(file) for file in files])


def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_PICTURES", 20)


def test_every_picture_and_caption_has_its_row(run: Run, shipped_onnx: Path, pictures: Path) -> None:
    code, out, err = run("embed", shipped_onnx, pictures, "--out", "e", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["there"], report["written"], report["record"]["pictures"]) == (1, 1, 49)
    assert [reason.split(":")[0] for reason in report["left_out"]] == ["broken.png"]
    found, texts = rows(Path("e"), "metadata"), rows(Path("e"), "text_metadata")
    assert len(found) == len(vectors(Path("e"), "img_emb")) == 48
    assert len(texts) == len(vectors(Path("e"), "text_emb")) == 96
    assert {row["split"] for row in found} == {"train", "val", "test"}
    captions = {row["image_path"]: row["caption"] for row in found}
    assert captions["red-disc-left.png"] == "red disc left"
    bundle = open_bundle(shipped_onnx)
    place = [row["image_path"] for row in found].index("red-disc-left.png")
    wanted = bundle.embed_images([pictures / "red-disc-left.png"])[0]
    np.testing.assert_allclose(vectors(Path("e"), "img_emb")[place], wanted, atol=1e-5)
    place = [row["caption"] for row in texts].index("red disc left")
    np.testing.assert_allclose(
        vectors(Path("e"), "text_emb")[place], bundle.embed_texts(["red disc left"])[0], atol=1e-5
    )


def test_workers_share_a_folder_and_give_what_one_gives(
    run: Run, shipped_onnx: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    assert run("embed", shipped_onnx, pictures, "--out", "one")[0] == 0
    _, out, _ = run("embed", shipped_onnx, pictures, "--out", "two", "--worker", "1/2")
    assert "2 of 3 shards written now, 1 are other workers' or missing" in out
    _, out, _ = run("embed", shipped_onnx, pictures, "--out", "two", "--worker", "2/2")
    assert "1 of 3 shards written now, complete" in out
    for file in sorted(Path("one").rglob("*.*")):
        assert (Path("two") / file.relative_to("one")).read_bytes() == file.read_bytes(), file


def test_a_killed_run_goes_on_with_the_shards_that_are_missing(
    run: Run, shipped_onnx: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    run("embed", shipped_onnx, pictures, "--out", "e")
    (Path("e") / "metadata" / "metadata_1.parquet").unlink()  # written last
    _, out, _ = run("embed", shipped_onnx, pictures, "--out", "e")
    assert "1 of 3 shards written now, complete" in out


def test_embeddings_of_another_model_are_refused(run: Run, shipped_onnx: Path, world: Path, pictures: Path) -> None:
    run("embed", shipped_onnx, pictures, "--out", "e")
    code, _, err = run("embed", world / "teacher", pictures, "--out", "e")
    assert code == 2
    assert err.strip().endswith("e holds embeddings of another model or of other data. Name another folder with --out.")


@pytest.mark.parametrize("worker", ["0/2", "3/2", "two", "1/"])
def test_a_worker_that_is_none_is_refused(run: Run, shipped_onnx: Path, pictures: Path, worker: str) -> None:
    code, _, err = run("embed", shipped_onnx, pictures, "--worker", worker)
    assert (code, err.strip().endswith("is none of I/N. Example: --worker 2/4 for the second of four.")) == (2, True)


@pytest.fixture
def shipped_onnx(searched) -> Path:  # type: ignore[no-untyped-def]
    """A bundle with real ONNX files."""
    return Path(searched.bundle)
