"""Splits of the demo's pictures that keep near-twins together: what is learned on train is not asked on test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import read_json, sha256_text, write_json

FAMILY_COSINE = 0.9  # above this, two pictures or two captions count as twins and share a split
LEFT_OUT = "left out"


def family_splits(pairs: Pairs, named: int, config: DataConfig, folder: Path) -> list[str]:
    """Return the split of each picture: a family of near-twins is in one split.

    Args:
        pairs: the pictures that have a name, then those without.
        named: number of the former.
        config: shares of val and test, and the fold.
        folder: where the splits are kept between runs.

    Returns:
        "train", "val" or "test"; a nameless twin of a held-out picture is "left out", in none of them.
    """
    fractions = f"{config.val_fraction}/{config.test_fraction}/{FAMILY_COSINE}" + f"/{config.fold}" * (config.fold > 0)
    path = folder / f"splits-{sha256_text(pairs.content, fractions)[:16]}.json"
    if path.exists():
        return [str(split) for split in read_json(path, "family split")]
    from conaclip_edge.models.teacher.packaged_towers import PretrainedTowers
    from conaclip_edge.teacher_cache.store import teacher_cache

    features = teacher_cache(pairs, PretrainedTowers(), folder.parent.parent)
    pictures = features.pictures(np.arange(len(pairs)))
    texts = features.texts(np.arange(features.first_text[-1]))
    caption_to_image = np.repeat(np.arange(len(pairs)), np.diff(features.first_text))
    groups = families(pictures[:named], texts, caption_to_image)
    assigned = split_families(groups, config) + ["train"] * (len(pairs) - named)
    splits = np.asarray(assigned, dtype=object)  # an array of texts would cut longer ones
    held_out = pictures[splits != "train"]
    twins = (pictures[named:] @ held_out.T > FAMILY_COSINE).any(axis=1)
    splits[named:][twins] = LEFT_OUT
    write_json(path, splits.tolist())
    return [str(split) for split in splits]


def families(pictures: np.ndarray, texts: np.ndarray, caption_to_image: np.ndarray) -> np.ndarray:
    """Number the families of pictures: connected components of near-equal pictures or captions.

    Args:
        pictures: unit features [n, a].
        texts: unit features of all captions [m, b].
        caption_to_image: picture of each caption [m].

    Returns:
        The family of each picture [n].
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    twins = np.argwhere(pictures @ pictures.T > FAMILY_COSINE)
    same = caption_to_image[np.argwhere(texts @ texts.T > FAMILY_COSINE)]
    links = np.concatenate([twins, same])
    adjacency = csr_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(pictures), len(pictures)))
    return np.asarray(connected_components(adjacency, directed=False)[1])


def split_families(groups: np.ndarray, config: DataConfig) -> list[str]:
    """Assign whole families to the splits in a fixed shuffled order; a fold tests on what no fold before did.

    Args:
        groups: number of each picture's family [n].
        config: shares of val and test, and the fold.

    Returns:
        The split of each picture [n].

    Raises:
        UserError: the folds before have had every picture in test.
    """
    order = np.random.default_rng(17).permutation(np.unique(groups)).tolist()
    tested: set[int] = set()
    splits = _assign(groups, order, tested, config)
    for fold in range(config.fold):
        tested |= set(groups[splits == "test"].tolist())
        order.sort(key=tested.__contains__)
        splits = _assign(groups, order, tested, config)
        if "test" not in splits:
            raise UserError(f"data.fold = {config.fold}: folds 0 to {fold} have had every picture in test.")
    return [str(split) for split in splits]


def _assign(groups: np.ndarray, order: list[int], tested: set[int], config: DataConfig) -> np.ndarray:
    """Assign whole families to test, val and train until each has its share; what was tested before stands last."""
    splits = np.full(len(groups), "train", dtype=object)
    wanted = [("test", round(len(groups) * config.test_fraction)), ("val", round(len(groups) * config.val_fraction))]
    for group in order:
        if wanted and wanted[0][0] == "test" and group in tested:
            wanted.pop(0)
        rows = np.flatnonzero(groups == group)
        if wanted and len(rows) <= wanted[0][1]:
            splits[rows] = wanted[0][0]
            wanted[0] = (wanted[0][0], wanted[0][1] - len(rows))
            if wanted[0][1] == 0:
                wanted.pop(0)
    return splits
