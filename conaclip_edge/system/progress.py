"""Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing on stdout."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import TypeVar

T = TypeVar("T")


def quiet_libraries() -> None:
    """Keep the libraries' own bars and notices off the terminal; call before they are imported."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("torch.utils._pytree", "torchao", "coremltools", "executorch", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"torch|transformers|torchao|coremltools|executorch|onnxscript")
    warnings.filterwarnings("ignore", message="coreai-torch has only been validated")  # of torch's build for the CPU


@contextmanager
def quiet() -> Iterator[None]:
    """Keep a toolchain's notices and bars to itself, also what its native code writes; errors still come through."""
    sys.stderr.flush()
    level, stderr = logging.root.manager.disable, os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    logging.disable(logging.WARNING)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
        logging.disable(level)


def is_first_process() -> bool:
    """Tell whether this process speaks and writes: alone, or as the first of several that train together."""
    return os.environ.get("RANK", "0") == "0"  # set by accelerate launch and torch.distributed.run


def say(text: str) -> None:
    """Print a line on stderr, once for several processes that train together."""
    if is_first_process():
        print(text, file=sys.stderr, flush=True)


def track(items: Sequence[T], label: str, every: float = 10.0) -> Iterator[T]:
    """Yield the items; on a terminal with a bar, elsewhere with a line every so many seconds.

    Args:
        items: what to go through.
        label: what is being done, e.g. "embedding pictures".
        every: seconds between plain lines.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as bar

        yield from bar(items, label, console=Console(stderr=True), transient=True)
        return
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last > every:
            say(f"{label}: {done}/{len(items)}")
            last = time.monotonic()
        yield item


class Meter:
    """Progress of a training: a bar on a terminal, a line every ten seconds elsewhere.

    Args:
        label: what is being done.
        total: number of steps.
        done: steps that were done before.
    """

    def __init__(self, label: str, total: int, done: int = 0):
        self.label, self.total, self.done, self.first = label, total, done, done
        self.notes: dict[str, float] = {}
        self.pictures = 0
        self.started = self.last = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def __enter__(self) -> Meter:
        return self

    def note(self, **values: float) -> None:
        """Keep figures that are shown from now on."""
        self.notes.update(values)

    def advance(self, pictures: int, **values: float) -> None:
        """Count one step."""
        self.done += 1
        self.pictures += pictures
        self.note(**values)
        now = time.monotonic()
        if self.done == self.total or now - self.last > (0.2 if self.terminal else 10):
            self.last = now
            elapsed = now - self.started
            left = elapsed / (self.done - self.first) * (self.total - self.done)
            figures = ", ".join(f"{name} {value:.3g}" for name, value in self.notes.items())
            speed = self.pictures / elapsed
            text = f"{self.label} {self.done}/{self.total}: {figures}, {speed:.0f} images/s, {left:.0f} s left"
            if self.terminal:
                print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            else:
                say(text)

    def __exit__(self, *_: object) -> None:
        if self.terminal:
            print(file=sys.stderr)
