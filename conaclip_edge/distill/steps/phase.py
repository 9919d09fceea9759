"""The parts of a training: float steps, and those in which the image tower is int8."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.optim.swa_utils import AveragedModel

from conaclip_edge.models.student.dual_encoder import DualEncoder


@dataclass(frozen=True)
class Phase:
    """Steps that one optimiser does with one model, counted on from those of the phase before.

    Attributes:
        name: in the progress line.
        model: what learns.
        optimizer: of its weights, with `peak_lr` in each group.
        first: number of the first step.
        last: number of the step behind the last one.
        average: the weights' moving average, where there is one.
    """

    name: str
    model: DualEncoder
    optimizer: torch.optim.Optimizer
    first: int
    last: int
    average: AveragedModel | None = None

    @property
    def measured(self) -> DualEncoder:
        """The model, or its moving average."""
        if self.average is None:
            return self.model
        averaged = self.average.module
        assert isinstance(averaged, DualEncoder)
        return averaged


@dataclass(frozen=True)
class StepValues:
    """Figures of a step's last batch.

    Attributes:
        loss: weighted sum of the terms.
        terms: "edge/loss" -> its loss, unweighted.
        logit_scale: the student's.
        pictures: of the batch.
    """

    loss: float
    terms: dict[str, float]
    logit_scale: float
    pictures: int
