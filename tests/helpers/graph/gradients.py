"""Distil by a recipe and keep the gradients of every step; run as a script it is one process of several.

python gradients.py RECIPE.json OUT GRADIENTS
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.distill import trainer


def distil_and_keep(config: DistillConfig, out: Path, gradients: Path) -> None:
    """Write gradients/<step>-<rank>.safetensors, in the order of the optimiser's groups."""
    gradients.mkdir(exist_ok=True)
    step = torch.optim.AdamW.step
    rank = os.environ.get("RANK", "0")

    def watched(self: torch.optim.AdamW, *args: Any, **more: Any) -> Any:
        found = [p.grad for group in self.param_groups for p in group["params"]]
        kept = {str(place): value.clone() for place, value in enumerate(found) if value is not None}
        save_file(kept, gradients / f"{len(list(gradients.glob(f'*-{rank}.*')))}-{rank}.safetensors")
        return step(self, *args, **more)

    with mock.patch.object(torch.optim.AdamW, "step", watched):
        trainer.distill(config, out)


if __name__ == "__main__":
    values = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    distil_and_keep(DistillConfig.model_validate(values), Path(sys.argv[2]), Path(sys.argv[3]))
