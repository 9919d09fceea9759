"""Our int8 Core AI files beside those of coreai-opt's preset `w8`, both run by Apple's executor on pictures of test.

pip install coreai-opt==0.4.0
python -m tests.tools.coreai_default runs/demo/student runs/demo/bundle
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.bundle.embeddings import cosines
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.preprocess import Preprocess, decode, to_pixels
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.export.apple_description import INPUTS, OUTPUT
from conaclip_edge.export.coreai.asset import convert, write_asset
from conaclip_edge.export.towers.towers import Towers, build_towers
from conaclip_edge.models.student.checkpoint import Student, load_student
from conaclip_edge.runtime.open_tower import open_tower

COUNT = 16


def inputs_of(student: Student, towers: Towers) -> dict[str, Tensor]:
    """Read pictures, and a caption of each, filled up to the context: the preset keeps one length alone."""
    pairs = read_pairs(recorded_data(student.folder))
    preprocess, rows = Preprocess.of(student.model.config.image), [int(row) for row in pairs.rows("test")][:COUNT]
    pictures = np.stack([to_pixels(decode(pairs.read(row)), preprocess) for row in rows])
    texts = [student.tokenizer.ids(pairs.captions[row][0]) for row in rows]
    filled = [ids + [student.tokenizer.pad_id] * (towers.context - len(ids)) for ids in texts]
    return {"image": torch.from_numpy(pictures) / 255.0, "text": torch.tensor(filled, dtype=torch.int32)}


def main(student: Student, bundle: Path) -> None:
    """Print bytes and cosines to the float tower, for each tower of both."""
    from coreai_opt.quantization import Quantizer, QuantizerConfig

    towers = build_towers(student.model, "student")
    with tempfile.TemporaryDirectory() as folder:
        for tower, values in inputs_of(student, towers).items():
            quantizer = Quantizer(towers[tower], QuantizerConfig.presets.w8())
            quantizer.prepare((values[:1],))
            default = Path(folder) / f"{tower}.aimodel"
            write_asset(convert(quantizer.finalize(), values[:1], INPUTS[tower], OUTPUT, None), default, "", "", "", {})
            with torch.no_grad():
                exact = towers[tower](values).numpy()
            for name, path in (("coreai-opt w8", default), ("ours", bundle / f"coreai/{tower}.int8.aimodel")):
                found = cosines(open_tower(path)(values.numpy()), exact)
                size = sum(file.stat().st_size for file in path.iterdir())
                print(
                    f"{tower} {name}: cosine {found.mean():.5f}, least {found.min():.5f}, {size:,} bytes, n = {COUNT}"
                )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(load_student(Path(sys.argv[1])), Path(sys.argv[2]))
