"""A tower run by another Python gives what it gives here; its instructions are counted; a failure is one line."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conaclip_edge.bundle.embeddings import embed_ids, embed_pixels
from conaclip_edge.bundle.golden import read_golden
from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated.run_tower import run_tower
from conaclip_edge.runtime.open_tower import open_tower
from tests.helpers.benchmarks.devices import LABEL, emulated_arm64, stand_in


@pytest.mark.parametrize("suffix", ["onnx", "ort"])
def test_pictures_and_texts_of_any_length_give_what_they_give_here(searched, suffix):
    golden = read_golden(searched.bundle / "golden")
    image, text = (searched.bundle / "onnx" / f"{tower}.int8.{suffix}" for tower in ("image", "text"))
    pictures, texts = run_tower(stand_in(), image, golden.pixels), run_tower(stand_in(), text, golden.ids)
    assert np.array_equal(pictures.embeddings, embed_pixels(open_tower(image), golden.pixels, ""))
    assert np.array_equal(texts.embeddings, embed_ids(open_tower(text), golden.ids, 0, ""))
    assert len({len(ids) for ids in golden.ids}) > 2
    assert pictures.peak_bytes > pictures.runtime_bytes > 1e6
    assert pictures.instructions is None


def test_a_call_is_counted_by_runs_of_two_lengths(searched, tmp_path):
    golden = read_golden(searched.bundle / "golden")
    found = run_tower(stand_in(tmp_path), searched.bundle / "onnx/text.int8.onnx", golden.ids, counted=0).instructions
    assert found is not None
    assert found.per_call == (1000.0,) * 5
    assert (found.median, found.load, found.first) == (1000.0, 5007, 1007)


def test_inputs_beyond_the_time_are_left_out_but_the_least(searched):
    golden = read_golden(searched.bundle / "golden")
    found = run_tower(stand_in(), searched.bundle / "onnx/text.int8.onnx", golden.ids, seconds=0, least=3)
    assert len(found.embeddings) == 3


def test_a_file_that_the_runtime_refuses_is_one_line_with_its_reason(tmp_path):
    (tmp_path / "image.int8.onnx").write_bytes(b"no model")
    with pytest.raises(
        UserError, match=rf"image\.int8\.onnx does not run on {LABEL[:5]}.*exit code 1.*InvalidProtobuf"
    ):
        run_tower(stand_in(), tmp_path / "image.int8.onnx", np.zeros((1, 3, 8, 8), np.uint8))


def running(script):
    """Return a stand-in that runs a script in the place of the worker."""
    machine = stand_in()
    return replace(machine, command=(*machine.command, str(script)))


def test_a_runtime_that_dies_is_named_by_its_signal(searched, tmp_path):
    (tmp_path / "dies.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "utf-8")
    with pytest.raises(UserError, match=r"does not run on .* \(SIGSEGV\): no reason given"):
        run_tower(
            running(tmp_path / "dies.py"), searched.bundle / "onnx/image.int8.onnx", np.zeros((1, 3, 8, 8), np.uint8)
        )


def test_a_worker_that_writes_nothing_is_said(searched, tmp_path):
    (tmp_path / "idle.py").write_text("", "utf-8")
    with pytest.raises(UserError, match=r"image\.int8\.onnx gave nothing on arm64"):
        run_tower(
            running(tmp_path / "idle.py"), searched.bundle / "onnx/image.int8.onnx", np.zeros((1, 3, 8, 8), np.uint8)
        )


def test_inputs_that_find_no_room_are_said(searched, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(
        UserError, match=r"inputs of text\.int8\.onnx into .*: No space left on device\. Free some space, or"
    ):
        run_tower(stand_in(), searched.bundle / "onnx/text.int8.onnx", [np.array([1, 2], np.int32)])


def test_counts_that_find_no_room_are_said(searched, tmp_path):
    golden, machine = read_golden(searched.bundle / "golden"), stand_in(tmp_path)
    script = (tmp_path / "counting.py").read_text("utf-8").replace("file=counts, flush=True", "file=sys.stderr")
    (tmp_path / "counting.py").write_text(script, "utf-8")
    with pytest.raises(
        UserError, match=r"text\.int8\.onnx was not counted on arm64 .*: 0 marks were written\. Free some"
    ):
        run_tower(machine, searched.bundle / "onnx/text.int8.onnx", golden.ids, counted=0)


def test_arm64_kernels_give_nearly_the_same_and_take_the_same_instructions_each_time(searched: object) -> None:
    bundle: Path = searched.bundle  # type: ignore[attr-defined]
    golden, file = read_golden(bundle / "golden"), bundle / "onnx" / "text.int8.onnx"
    machine = emulated_arm64()
    first, second = (run_tower(machine, file, golden.ids[:4], counted=0) for _ in range(2))
    here = embed_ids(open_tower(file), golden.ids[:4], 0, "")
    assert np.allclose(first.embeddings, here, atol=0.05)
    assert np.array_equal(first.embeddings, second.embeddings)
    assert first.instructions is not None
    assert second.instructions is not None
    assert first.instructions.median > 10_000
    assert second.instructions.median == pytest.approx(first.instructions.median, rel=0.01)
    assert first.instructions.load > first.instructions.median
