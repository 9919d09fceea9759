"""How much memory a process needs for the losses, by batch size and by how many processes share them.

    python -m tests.tools.at_size.loss_memory --out distill/results/loss-memory.json

Each cell is a fresh process that computes, as process 0 of R, all terms of a graph and their gradients from gathered
embeddings of 512 numbers. What is counted is its peak of resident memory above what it held before the first term. A
cell that would need more than `--most` GB, by the one a quarter of its size, is not run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import psutil
import torch

from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.config.graph import GraphConfig
from conaclip_edge.distill import graph
from conaclip_edge.distill.embeddings import Embeddings
from conaclip_edge.system.files import write_json
from conaclip_edge.system.peak_memory import forget_peak_memory, peak_memory

BATCHES = (1024, 2048, 4096, 8192, 16384, 32768)
PROCESSES = (1, 8, 64)
PRESETS = ("infonce", "conaclip")
DIM = 512


def cell(preset: str, rows: int, processes: int) -> int:
    """Return the bytes of one cell; meant for a process that does nothing else."""
    random = torch.Generator().manual_seed(0)
    vectors = [torch.nn.functional.normalize(torch.randn(rows, DIM, generator=random), dim=1) for _ in range(4)]
    si, ti, st, tt = vectors
    ids = torch.arange(rows)
    made = Embeddings(
        si=si.requires_grad_(),
        ti=ti,
        st=st.requires_grad_(),
        tt=tt,
        picture_ids=ids,
        text_ids=ids,
        caption_to_image=ids,
        pairs=rows,
        processes=processes,
    )
    terms = graph.expand(GraphConfig(preset=preset))
    forget_peak_memory()
    before = psutil.Process().memory_info().rss
    values = graph.compute(terms, made, torch.tensor(10.0, requires_grad=True))
    torch.stack([term.weight * values[f"{term.edge}/{term.loss}"] for term in terms]).sum().backward()
    return peak_memory() - before


def main() -> None:
    """Measure all cells and write them as JSON; with --cell, one of them, on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--most", type=float, default=6.0, metavar="GB")
    parser.add_argument("--cell", nargs=3, metavar=("PRESET", "ROWS", "PROCESSES"))
    given = parser.parse_args()
    if given.cell:
        preset, rows, processes = given.cell
        print(cell(preset, int(rows), int(processes)))
        return
    found: dict[str, dict[str, dict[str, int | None]]] = {}
    for preset in PRESETS:
        for processes in PROCESSES:
            row: dict[str, int | None] = {}
            for rows in BATCHES:
                smaller = row.get(str(rows // 2), 0)
                if smaller is None or 4 * smaller > given.most * 1e9:
                    row[str(rows)] = None
                    continue
                command = [sys.executable, "-m", "tests.tools.at_size.loss_memory", "--cell"]
                done = subprocess.run(
                    [*command, preset, str(rows), str(processes)], stdout=subprocess.PIPE, text=True, check=True
                )
                row[str(rows)] = int(done.stdout)
                print(preset, processes, rows, f"{row[str(rows)]:,}", file=sys.stderr)
            found.setdefault(preset, {})[str(processes)] = row
    write_json(
        given.out,
        {
            "command": "python -m tests.tools.at_size.loss_memory",
            "environment": environment().model_dump(mode="json"),
            "dim": DIM,
            "bytes": found,
        },
    )


if __name__ == "__main__":
    main()
