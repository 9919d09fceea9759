"""`<out>.run`: what a distillation keeps while it runs, so that a killed one goes on where it was saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.distill.steps.negative_queue import TeacherQueue
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.system.files import atomic_file, not_written, read_json, write_json
from conaclip_edge.system.products import RUN, check_out
from conaclip_edge.system.progress import say

_SAVED = ("exp_avg", "exp_avg_sq", "step")


class RunFolder:
    """The run folder beside a checkpoint's final place.

    Args:
        out: the checkpoint folder that the run will become.
        config: kept in the folder; a resumed run has to have the same.
        resume: go on with what is there instead of starting over.
        sources: fingerprints of data and teacher; a resumed run has to have the same.
        main: whether this process is the one of all that writes.
    """

    def __init__(
        self, out: Path, config: DistillConfig, resume: bool, sources: dict[str, str] | None = None, main: bool = True
    ):
        self.path = out.with_name(out.name + ".run")
        self.main = main
        recipe = config.model_dump(mode="json")
        if resume:
            if not (self.path / "state.safetensors").exists():
                raise UserError(f"nothing to resume at {self.path}. Start without --resume.")
            if read_json(self.path / "recipe.json", "recipe of the interrupted run") != recipe:
                raise UserError(
                    f"{self.path} was started with another recipe ({self.path / 'recipe.json'}). Use that one."
                )
            before = read_json(self.path / "sources.json", "sources of the interrupted run")
            for what, fingerprint in (sources or {}).items():
                if before.get(what) != fingerprint:
                    raise UserError(
                        f"{self.path} was started with other {what}. Restore it, or start without --resume."
                    )
        elif main:
            check_out(self.path, RUN)
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True)
            self.write_json("recipe.json", recipe)
            self.write_json("sources.json", sources or {})

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file into the folder, atomically."""
        if self.main:
            write_json(self.path / name, value)

    def log(self, line: dict[str, Any]) -> None:
        """Append a line to training.jsonl."""
        if not self.main:
            return
        path = self.path / "training.jsonl"
        try:
            with open(path, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(line) + "\n")
        except OSError as error:
            raise not_written(path, error) from error

    def save_state(
        self,
        student: DualEncoder,
        optimizer: torch.optim.Optimizer,
        queue: TeacherQueue,
        average: torch.optim.swa_utils.AveragedModel | None,
        step: int,
    ) -> None:
        """Save weights, optimiser, queue and moving average after `step` steps, atomically and without pickle."""
        from safetensors.torch import save_file

        if not self.main:
            return
        tensors: dict[str, Tensor] = {f"model.{name}": value for name, value in student.state_dict().items()}
        for name, parameter in student.named_parameters():
            state = optimizer.state.get(parameter, {})
            tensors |= {f"optimizer.{name}.{key}": state[key] for key in _SAVED if key in state}
        tensors |= {f"queue.{name}": value for name, value in queue.state().items()}
        if average is not None:
            tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
        contiguous = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
        }
        with atomic_file(self.path / "state.safetensors") as temporary:
            save_file(contiguous, temporary, metadata={"step": str(step)})

    def steps_done(self) -> int:
        """Return the number of steps that the saved state has behind it; 0 where nothing was saved."""
        from safetensors import safe_open

        file = self.path / "state.safetensors"
        if not file.exists():
            return 0
        with safe_open(file, framework="pt") as handle:
            return int(handle.metadata()["step"])

    def load_state(
        self,
        student: DualEncoder,
        optimizer: torch.optim.Optimizer,
        queue: TeacherQueue,
        average: torch.optim.swa_utils.AveragedModel | None,
    ) -> int:
        """Take back what `save_state` wrote; returns the number of steps done."""
        tensors, step = self._saved(), self.steps_done()
        student.load_state_dict(_under(tensors, "model."))
        for name, parameter in student.named_parameters():
            state = _under(tensors, f"optimizer.{name}.")
            if state:
                optimizer.state[parameter] = {
                    key: state[key].to(parameter.device) if key != "step" else state[key] for key in state
                }
        queue.load(_under(tensors, "queue."))
        if average is not None:
            average.load_state_dict(_under(tensors, "average."))
        if self.main:
            self._forget_after(step)
        say(f"resuming after step {step}")
        return step

    def load_model(self, student: DualEncoder) -> None:
        """Take back the weights alone of what `save_state` wrote."""
        student.load_state_dict(_under(self._saved(), "model."))

    def _saved(self) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = load_file(self.path / "state.safetensors")
        return tensors

    def _forget_after(self, step: int) -> None:
        """Drop log lines of steps that will be done again."""
        log = self.path / "training.jsonl"
        kept = []
        for line in log.read_text("utf-8").splitlines():
            try:
                if json.loads(line)["step"] < step:
                    kept.append(line)
            except ValueError:  # the line that was being written when the run was killed
                continue
        with atomic_file(log) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), "utf-8")

    def move_logs(self, target: Path) -> None:
        """Copy the training log into the finished checkpoint."""
        shutil.copyfile(self.path / "training.jsonl", target / "training.jsonl")

    def remove(self) -> None:
        """Delete the run folder once the checkpoint stands."""
        shutil.rmtree(self.path, ignore_errors=True)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
