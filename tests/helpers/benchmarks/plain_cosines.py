"""How near the files of a plain export are to the student that they were made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from conaclip_edge.benchmarks.measure.plain_exports import PlainExport
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.runtime.open_tower import open_tower


def cosines(made: PlainExport, student: Path) -> list[float]:
    """Run both files on a picture and a padded text; returns their cosines to the float student's embeddings."""
    found = load_student(student)
    size, context = found.model.config.image.size, found.model.config.text.context
    pixels = np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)
    ids = found.tokenizer(["w4 w7 w9"])
    padded = np.pad(ids, ((0, 0), (0, context - ids.shape[1])), constant_values=found.tokenizer.pad_id)
    with torch.inference_mode():
        wanted = (found.model.encode_image(torch.from_numpy(pixels)), found.model.encode_text(torch.from_numpy(ids)))
    assert made.image
    assert made.text
    given = (open_tower(made.image)(pixels), open_tower(made.text)(padded))
    return [float((one[0] * other[0].numpy()).sum()) for one, other in zip(given, wanted, strict=True)]
