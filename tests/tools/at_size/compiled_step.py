"""Whether torch.compile pays: processor time of a student's forward and backward, compiled and as it is.

python -m tests.tools.at_size.compiled_step mobile

Both take turns, in one thread; the first compiled step, in which the compiler works, is apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

from conaclip_edge.config.model import ModelConfig
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.presets import PRESETS

IDS = 16


def main() -> None:
    """Print the seconds of the first compiled step, and how the others compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = PRESETS[given.preset]
    text = shape.text.model_copy(update={"vocab_size": 2000, "eos_id": 1, "pad_id": 0})
    model = DualEncoder(ModelConfig(image=shape.image, text=text, embed_dim=384)).train()
    pixels = torch.rand(given.batch, 3, shape.image.size, shape.image.size)
    ids = torch.full((given.batch, IDS), 5, dtype=torch.int32)
    ids[:, -1] = 1

    def seconds(runs: Any) -> float:
        before = time.process_time()
        pictures, texts, _ = runs(pixels, ids)
        (pictures.sum() + texts.sum()).backward()
        model.zero_grad()
        return time.process_time() - before

    compiled: Any = torch.compile(model)
    print(f"first compiled step: {seconds(compiled):.1f} s of processor time")
    pairs = [(seconds(model), seconds(compiled)) for _ in range(given.rounds)]
    ratio = statistics.median(other / one for one, other in pairs)
    print(f"compiled / as it is: {ratio:.2f} (median of {given.rounds} rounds)")


if __name__ == "__main__":
    main()
