"""Embeddings of held-out pairs in a bundle: what is drawn, and files that are something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from conaclip_edge.bundle.held_out_pairs import FILE, MOST_PAIRS, draw_pairs, read_pairs_of, write_pairs
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.errors import UserError


def test_texts_are_kept_with_their_own_pictures(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pictures = random.standard_normal((300, 4)).astype(np.float32)
    caption_to_image = random.integers(0, 300, 700)
    texts = pictures[caption_to_image] * 2
    write_pairs(draw_pairs(texts, pictures, caption_to_image), tmp_path)
    pairs = read_pairs_of(tmp_path, 4)
    assert pairs is not None
    assert pairs.texts.shape == (MOST_PAIRS, 4)
    np.testing.assert_allclose(pairs.texts, 2 * pairs.pictures, rtol=2e-3)


def test_an_exported_bundle_holds_pairs_that_were_held_out(exported: tuple[Path, ...]) -> None:
    pairs = read_pairs_of(exported[0], read_manifest(exported[0]).embed_dim)
    assert pairs is not None
    assert 0 < len(pairs.texts) <= MOST_PAIRS
    np.testing.assert_allclose(np.linalg.norm(pairs.pictures, axis=1), 1, atol=1e-2)


@pytest.mark.parametrize("pictures", [np.zeros((2, 3), np.float16), np.full((2, 4), np.nan, np.float16), None])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, pictures: np.ndarray | None) -> None:
    given = {"text": np.zeros((2, 4), np.float16)} | ({} if pictures is None else {"picture": pictures})
    save_file(given, tmp_path / FILE)
    with pytest.raises(UserError, match=rf"{FILE} must hold 'text' and 'picture'"):
        read_pairs_of(tmp_path, 4)


def test_a_bundle_without_pairs_or_with_a_broken_file(tmp_path: Path) -> None:
    assert read_pairs_of(tmp_path, 4) is None
    (tmp_path / FILE).write_bytes(b"none")
    with pytest.raises(UserError, match="cannot read"):
        read_pairs_of(tmp_path, 4)
