"""The start of the int8 steps: the trained student's image tower becomes an int8 one."""

from __future__ import annotations

import numpy as np
import torch

from conaclip_edge.distill.run_folder import RunFolder
from conaclip_edge.distill.training_data import TrainingData, usable_rows
from conaclip_edge.models.quantization.mobile import Int8MobileTower
from conaclip_edge.models.quantization.post_training import quantize_after_training
from conaclip_edge.models.student.int8_student import Int8Student
from conaclip_edge.system.progress import say

PICTURES = 256  # of the train split, that weights and grids are fitted to ...
PIXELS = 128 * 224 * 224  # ... or fewer large ones: memory grows with their pixels
_SEED = 31


def start_int8(data: TrainingData, prune: float, saved: RunFolder | None = None) -> Int8Student:
    """Return the student of a finished float training with an int8 image tower.

    Args:
        data: of the recipe; its student is trained.
        prune: share of the weights inside of the image tower's blocks that is left out, at most.
        saved: the run that holds weights and grids of an interrupted phase; None: they are fitted to train pictures.
    """
    student = data.student.cpu()  # where a device was used, the pictures are still here
    if saved:
        interrupted = Int8Student(student, Int8MobileTower(student.image))
        saved.load_model(interrupted)
        return interrupted
    rows = usable_rows(data.pairs, data.cache, "train")
    count = max(1, min(PICTURES, PIXELS // student.config.image.size**2))
    drawn = np.sort(np.random.default_rng(_SEED).permutation(rows)[:count])
    say(f"int8: fitting the image tower to {len(drawn)} pictures")
    pixels = torch.from_numpy(data.pixels(drawn, np.zeros_like(drawn))).float() / 255
    return Int8Student(student, quantize_after_training(student.image, pixels, prune))
