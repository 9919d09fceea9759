"""Two processes are one: the same gradients as a single process on the joint batch, one checkpoint, one log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from conaclip_edge.benchmarks.speed.axes.graph_step import every_term
from conaclip_edge.distill.steps.all_gather import gather
from tests.helpers.graph.gradients import distil_and_keep

STEPS = 3


@pytest.fixture(scope="module")
def both(world: Path, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one/, two/ and the gradients of each: every loss on every learning type, a queue, unpaired rows."""
    home = tmp_path_factory.mktemp("parallel")
    terms = [term.model_dump(mode="json") for term in every_term()]
    budget = {"steps": STEPS, "eval_every": 2, "clip": 1e9, "batch_size": 12}
    config = settings(**budget, data={"labelled": 0.5}, graph={"queue": 9, "terms": terms})
    (home / "recipe.json").write_text(config.model_dump_json(), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))
        patch.setenv("ACCELERATE_USE_CPU", "1")
        distil_and_keep(config, home / "one", home / "gradients-one")
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        script = Path(__file__).parents[2] / "helpers" / "graph" / "gradients.py"
        arguments = [str(home / name) for name in ("recipe.json", "two", "gradients-two")]
        done = subprocess.run([*launch, str(script), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return home


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("step", range(STEPS))
def test_gradients_are_those_of_the_joint_batch(both: Path, step: int, rank: int) -> None:
    one = load_file(both / "gradients-one" / f"{step}-0.safetensors")
    two = load_file(both / "gradients-two" / f"{step}-{rank}.safetensors")
    assert set(two) == set(one)
    largest = max(float(gradient.abs().max()) for gradient in one.values())
    assert largest > 1
    for name, gradient in one.items():
        # float32 sums in another order; keys' biases have no true gradient, only such noise
        scale = max(float(gradient.abs().max()), 3e-3 * largest)
        # later steps start from weights that differ by the noise already
        assert torch.allclose(two[name], gradient, rtol=0, atol=scale * 1e-5 * 10**step), name


def test_all_processes_write_one_log_and_one_checkpoint(both: Path) -> None:
    logs = [
        [json.loads(line) for line in (both / name / "training.jsonl").read_text("utf-8").splitlines()]
        for name in ("one", "two")
    ]
    assert [sorted(line) for line in logs[0]] == [sorted(line) for line in logs[1]]
    for ours, theirs in zip(*logs, strict=True):
        assert theirs["step"] == ours["step"]
        for key in {"loss", "gradient_norm", "terms", "gradient_norms"} & set(ours):
            assert theirs[key] == pytest.approx(ours[key], rel=1e-3, abs=1e-5)
    assert {path.name for path in (both / "two").iterdir()} == {path.name for path in (both / "one").iterdir()}
    assert not list(both.glob("*.run"))


def test_one_process_gathers_nothing() -> None:
    local = torch.zeros(2, 3)
    assert gather(local, 1) is local
