"""The training curves as one SVG."""

from __future__ import annotations

import json
from pathlib import Path


def draw_curves(log: Path, target: Path) -> None:
    """Draw total loss, every term, and recall on val over the steps of a training.jsonl."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "conaclip-edge"  # equal runs give equal files
    from matplotlib import pyplot

    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    losses = [line for line in lines if "loss" in line]
    recalls = [line for line in lines if "val_mean_recall" in line]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    steps = [line["step"] for line in losses]
    left.plot(steps, [line["loss"] for line in losses], color="black", label="total (weighted)")
    for name in losses[0]["terms"] if losses else []:
        left.plot(steps, [line["terms"][name] for line in losses], linewidth=0.8, label=name)
    left.set(xlabel="step", ylabel="loss", yscale="log", title="Loss terms")
    left.legend(fontsize=6, loc="upper right")  # the best place takes long to find
    right.plot([line["step"] for line in recalls], [line["val_mean_recall"] for line in recalls], marker="o")
    right.set(xlabel="step", ylabel="mean of R@1/5/10 both ways (%)", title="Recall on val")
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)
