"""Checkpoints that several tests read: written once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conaclip_edge.models.teacher import tokenizer_json as teacher_tokenizer
from conaclip_edge.models.teacher.huggingface import TransformersTeacher
from tests.helpers.models.tiny_teachers import FAMILIES


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a family's checkpoint, which no test may change."""
    root = tmp_path_factory.mktemp("families")

    def folder(family: str) -> Path:
        if not (root / family).exists():
            torch.manual_seed(0)
            FAMILIES[family](root / family)
        return root / family

    return folder


@pytest.fixture(scope="session")
def family_teacher(
    family_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], TransformersTeacher]:
    """Give the teacher loaded from a family's folder."""
    loaded: dict[str, TransformersTeacher] = {}
    cache = tmp_path_factory.mktemp("tokenizers")

    def teacher(family: str) -> TransformersTeacher:
        if family not in loaded:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(teacher_tokenizer, "TOKENIZER_CACHE", cache)
                loaded[family] = TransformersTeacher(str(family_folder(family)))
        return loaded[family]

    return teacher
