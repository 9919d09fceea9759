"""An image tower of any vision model of transformers is that model, with its weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from conaclip_edge.config.model import ImageTowerConfig, ModelConfig, StudentConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.towers.towers import OtherImageTower
from conaclip_edge.models.image_towers.vision_model import VisionModelBackbone
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.presets import student_shape
from tests.helpers.models.vision_models import VISION_MODELS, vision_folder


@pytest.fixture(scope="module", name="folders")
def _folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("vision")

    def folder(family: str) -> Path:
        return vision_folder(root / family, family) if not (root / family).exists() else root / family

    return folder


def tower(folder: Path, **image: Any) -> tuple[ModelConfig, VisionModelBackbone, DualEncoder]:
    """A student with a folder's model as image tower, started from its weights."""
    shape = student_shape(StudentConfig(preset="demo", image={"backbone": str(folder), **image}))
    model = DualEncoder(shape)
    backbone = model.image.backbone
    assert isinstance(backbone, VisionModelBackbone)
    assert backbone.start_from(folder) == sum(value.numel() for value in backbone.parameters())
    return shape, backbone, model.eval()


def pixels(size: int) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", VISION_MODELS)
@torch.no_grad()
def test_its_features_are_the_model_s_own(folders: Callable[[str], Path], family: str) -> None:
    shape, backbone, _ = tower(folders(family))
    model = transformers.AutoModel.from_pretrained(folders(family)).eval()
    x = pixels(shape.image.size)
    given = model(pixel_values=x.flip(1) if family == "mobilevit" else x)
    pooled = given.last_hidden_state[:, 0] if family in ("deit", "dinov2") else given.pooler_output.flatten(1)
    found = backbone(x)
    torch.testing.assert_close(found, pooled, rtol=0, atol=1e-5)
    assert found.shape == (2, backbone.features)
    assert (found[0] - found[1]).abs().max() > 1e-6


@pytest.mark.parametrize("family", VISION_MODELS)
@torch.no_grad()
def test_the_form_for_export_gives_the_same_without_batch_norms(folders: Callable[[str], Path], family: str) -> None:
    shape, _, model = tower(folders(family))
    exported, x = OtherImageTower(model).eval(), pixels(shape.image.size)
    torch.testing.assert_close(exported(x), model.encode_image(x), rtol=0, atol=2e-6)
    assert not [module for module in exported.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert OtherImageTower(model).half().backbone.model.dtype == torch.float16
    assert next(model.parameters()).dtype == torch.float32


def test_what_the_folder_says_of_pictures_is_taken_and_a_recipe_goes_before_it(
    folders: Callable[[str], Path],
) -> None:
    folder = folders("deit")
    shape = student_shape(StudentConfig(image={"backbone": str(folder)})).image
    assert (shape.size, shape.mean, shape.resample, shape.kind) == (32, (0.5, 0.4, 0.3), "bilinear", "transformers")
    assert shape.backbone == "", "a checkpoint holds no path"
    assert student_shape(StudentConfig(image={"backbone": str(folder), "size": 48})).image.size == 48


@torch.no_grad()
def test_positions_are_brought_to_another_picture_size(folders: Callable[[str], Path]) -> None:
    _, backbone, _ = tower(folders("dinov2"), size=64)
    assert backbone.model.embeddings.position_embeddings.shape[1] == 1 + 8 * 8
    assert backbone(pixels(64)).isfinite().all()


def test_batch_norms_keep_their_statistics_while_the_tower_is_built(folders: Callable[[str], Path]) -> None:
    config = student_shape(StudentConfig(image={"backbone": str(folders("mobilenet_v2"))})).image
    norms = [m for m in VisionModelBackbone(config).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.num_batches_tracked == 0 and norm.training for norm in norms)


@torch.no_grad()
def test_one_batch_does_not_replace_the_statistics_of_the_others(folders: Callable[[str], Path]) -> None:
    _, backbone, _ = tower(folders("mobilenet_v2"))
    statistics = next(module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d))
    batch = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    backbone.train()
    for _ in range(60):
        backbone(batch)
    assert statistics.running_var is not None
    before = statistics.running_var.clone()
    backbone(torch.zeros_like(batch))  # of which nothing varies
    ratio = statistics.running_var / before
    assert 0.8 < ratio.min() <= ratio.max() < 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"model_type": "bert", "vocab_size": 5},
            "is no vision model: its config.json says model_type 'bert'.",
        ),
        ({"model_type": "clip", "vision_config": {}}, "is no vision model: its config.json says model_type 'clip'."),
        ({"model_type": "timm_wrapper"}, "is no vision model: its config.json says model_type 'timm_wrapper'."),
        ({}, "is no vision model: its config.json says model_type 'None'."),
    ],
)
def test_what_is_no_vision_model_is_refused(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match=said):
        student_shape(StudentConfig(image={"backbone": str(tmp_path)}))


def test_a_folder_without_config_and_a_kind_without_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json in .*A folder of a vision model of transformers is needed"):
        student_shape(StudentConfig(image={"backbone": str(tmp_path)}))
    with pytest.raises(UserError, match=r"needs a model: student\.image\.backbone=FOLDER\."):
        DualEncoder(ModelConfig(image=ImageTowerConfig(kind="transformers")))


def test_weights_of_another_model_are_named(folders: Callable[[str], Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folders("deit"), tmp_path / "deit"))
    shape = student_shape(StudentConfig(preset="demo", image={"backbone": str(copy)}))
    backbone = DualEncoder(shape).image.backbone
    assert isinstance(backbone, VisionModelBackbone)
    shutil.copy(folders("dinov2") / "model.safetensors", copy)
    with pytest.raises(UserError, match=r"^student\.image\.backbone: .* that its config\.json asks for\."):
        backbone.start_from(copy)
