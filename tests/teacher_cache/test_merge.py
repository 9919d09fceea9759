"""A cache that several workers build is, byte for byte, what one builds; what is wrong with a part is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from conaclip_edge.distill.trainer import distill
from conaclip_edge.errors import UserError
from conaclip_edge.teacher_cache import merge, store
from conaclip_edge.teacher_cache.build import build_cache
from tests.helpers import tiny

# a shard is small enough for the tiny data set to have some: 3 views of 48 pictures and 96 texts
ROWS = 16
WORKER = """
import sys
from conaclip_edge.teacher_cache import merge, store
store.SHARD_ROWS = merge.SHARD_ROWS = int(sys.argv[1])
sys.argv = ["conaclip-edge", *sys.argv[2:]]
from conaclip_edge.cli.main import main
main()
"""


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (store, merge):
        monkeypatch.setattr(module, "SHARD_ROWS", ROWS)


@pytest.fixture
def made(settings):
    """A function that gives the recipe with another cache folder."""
    return lambda name: settings(teacher_views=3, steps=2).model_copy(update={"cache": Path(name)})


def shards(folder: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).rglob("*.safetensors")}


def test_four_workers_in_processes_of_their_own_give_the_bytes_of_one(made):
    recipe = tiny.write_recipe(Path("recipe.yaml"), made("four").model_dump(mode="json", exclude_unset=True))
    command = [sys.executable, "-c", WORKER, str(ROWS), "cache", str(recipe), "--json", "--worker"]
    workers = [subprocess.Popen([*command, f"{part}/4"], stdout=subprocess.PIPE) for part in (1, 2, 3, 4)]
    reported = [json.loads(worker.communicate()[0]) for worker in workers]
    assert [one["written"] for one in reported] == [4, 4, 4, 3]
    build_cache(made("one"))
    assert len(shards("one")) == 15
    assert shards("four") == shards("one")


def test_the_processes_of_a_launch_divide_the_work(made, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    recipe = tiny.write_recipe(Path("recipe.yaml"), made("two").model_dump(mode="json", exclude_unset=True))
    Path("worker.py").write_text(WORKER, "utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "worker.py"]
    done = subprocess.run(
        [*launch, str(ROWS), "cache", str(recipe)], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ": 8 of 15 shards are new, complete" in done.stdout
    build_cache(made("one"))
    assert shards("two") == shards("one")


def parts(made, *numbers: int) -> list[Path]:
    """Build parts of three, each in a folder of its own."""
    for number in numbers:
        build_cache(made(f"part-{number}"), worker=f"{number}/3")
    return [Path(f"part-{number}") for number in numbers]


def test_parts_of_other_machines_are_merged_to_a_cache_that_needs_no_teacher(made, monkeypatch):
    report = build_cache(made("merged"), merge=parts(made, 1, 2, 3))
    assert report.written == report.shards == report.there == 15
    build_cache(made("one"))
    assert shards("merged") == shards("one")
    for name in ("picture_shards", "text_shards"):  # a teacher that is loaded says a word to show that it can
        monkeypatch.setattr(store, name, lambda *_: pytest.fail("embedded again"))
    distill(made("merged"), Path("out"))


def test_a_missing_part_is_named_and_what_came_is_kept(made):
    with pytest.raises(UserError, match=r"lacks 5 of 15 shards: pictures-0-00002\.safetensors, .*Make them: conaclip"):
        build_cache(made("merged"), merge=parts(made, 1, 2))
    assert build_cache(made("merged"), merge=parts(made, 3)).there == 15


def test_a_shard_that_is_there_twice_must_be_the_same(made):
    first, second = parts(made, 1, 2)
    double = next(first.rglob("pictures-0-00000.safetensors"))
    shutil.copy(double, next(second.rglob("*.safetensors")).parent)
    with pytest.raises(UserError, match="lacks 5 of 15"):
        build_cache(made("merged"), merge=[first, second])
    save_file({"embedding": np.zeros((ROWS, 16), np.float32), "usable": np.ones(ROWS, np.uint8)}, double)
    with pytest.raises(
        UserError, match=r"pictures-0-00000\.safetensors is there twice with different content: part-1/"
    ):
        build_cache(made("other"), merge=[first, second])
    assert shards("other") == {}


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("damaged", lambda file: file.write_bytes(file.read_bytes()[:-9]), r"is damaged\. Delete it"),
        (
            "foreign",
            lambda file: file.rename(file.with_name("pictures-7-00000.safetensors")),
            "is no shard of this cache",
        ),
        (
            "rows",
            lambda file: save_file({"embedding": np.zeros((3, 16), np.float32)}, file),
            "holds 3 x 16 numbers, not 16 x 16",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else None,
)
def test_a_shard_that_does_not_fit_is_named(made, name, spoil, message):
    (part,) = parts(made, 1)
    spoil(next(part.rglob("pictures-0-00000.safetensors")))
    with pytest.raises(UserError, match=message):
        build_cache(made("merged"), merge=[part])


def test_a_part_of_another_recipe_is_no_part(made):
    (part,) = parts(made, 1)
    other = made("merged").model_copy(update={"train": made("x").train.model_copy(update={"teacher_views": 2})})
    with pytest.raises(UserError, match="holds no cache of this recipe, which would be named"):
        build_cache(other, merge=[part])


@pytest.mark.parametrize("worker", ["", "2", "0/4", "5/4", "a/b", "1/4/2"])
def test_a_worker_that_is_none_is_named(made, worker):
    with pytest.raises(UserError, match=r"is none of I/N\. Example: --worker 2/4"):
        build_cache(made("cache"), worker=worker or "/")


def test_a_worker_does_not_merge(made):
    with pytest.raises(UserError, match="Give one of the two"):
        build_cache(made("cache"), worker="1/2", merge=[Path("x")])
