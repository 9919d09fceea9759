"""A student of CLIP's vocabulary and pictures of 256 pixels in files for Core ML and ExecuTorch, quickly exported."""

from __future__ import annotations

from pathlib import Path

import torch

from conaclip_edge.bundle.manifest import SCHEMA, Manifest
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.data.preprocess import Preprocess
from conaclip_edge.export.coreml import export as coreml
from conaclip_edge.export.executorch import export as executorch
from conaclip_edge.export.executorch.partitioner import xnnpack_partitioner
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.layouts.source import Source
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.models.tokenizer import TextTokenizer
from tests.helpers.layouts.clip_shaped import write_student
from tests.helpers.small_students import calibration

SIZE = 256


def sources(home: Path) -> dict[str, Source]:
    """Export such a student; returns target -> what its layouts are made of.

    Weights stay float, which no layout looks at: the files bear the name of int8 ones.
    """
    student = load_student(write_student(home, SIZE))
    towers, shape = build_towers(student.model, "clip-shaped"), student.model.config
    manifest = Manifest(
        schema=SCHEMA,
        name="clip-shaped",
        embedding_space="0" * 64,
        embed_dim=shape.embed_dim,
        image_size=SIZE,
        context=shape.text.context,
        vocab_size=shape.text.vocab_size,
        eos_id=shape.text.eos_id,
        pad_id=shape.text.pad_id,
        licence="",
        training={},
        versions={},
    )
    for target in ("coreml", "executorch"):
        (home / target).mkdir()
    coreml.export(towers, calibration(), ExportConfig(target="coreml", precision="fp16"), home / "coreml")
    for file in (home / "coreml").iterdir():
        file.rename(file.with_name(file.name.replace("fp16", "int8")))
    texts = ({1: torch.export.Dim("length", min=2, max=shape.text.context)},)
    examples = {"image": (torch.zeros(1, 3, SIZE, SIZE), None), "text": (torch.ones(1, 4, dtype=torch.int32), texts)}
    for tower, (example, lengths) in examples.items():
        lowered = executorch.lower(towers[tower], example, lengths, xnnpack_partitioner())
        (home / "executorch" / f"{tower}.int8.pte").write_bytes(lowered.program)
    tokenizer = TextTokenizer(home / "student" / "tokenizer.json", shape.text.context)
    return {name: Source(home, name, manifest, Preprocess(SIZE), tokenizer) for name in ("coreml", "executorch")}
