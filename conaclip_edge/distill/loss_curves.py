"""The training curves as one SVG."""

from __future__ import annotations

import json
from pathlib import Path

from conaclip_edge.system.svg_lines import Curve, line_charts

_TOTAL = "total (weighted)"


def draw_curves(log: Path, target: Path) -> None:
    """Draw total loss, every term, and recall on val over the steps of a training.jsonl."""
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    losses = [line for line in lines if "loss" in line]
    recalls = [line for line in lines if "val_mean_recall" in line]
    curves = [Curve(_TOTAL, [(line["step"], line["loss"]) for line in losses])]
    curves += [
        Curve(name, [(line["step"], line["terms"][name]) for line in losses])
        for name in (losses[0]["terms"] if losses else [])
    ]
    recall = Curve("val", [(line["step"], line["val_mean_recall"]) for line in recalls])
    drawing = line_charts(
        ("Loss terms", "loss, log scale", curves, True),
        ("Recall on val", "mean of R@1/5/10 both ways, %", [recall], False),
    )
    target.write_text(drawing, "utf-8")
