"""A student inherits what matters of a CLIP: all of it at equal sizes, the living parts of a teacher with dead ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL.Image import Image
from torch import Tensor, nn

from conaclip_edge.config.model import StudentConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.distill.build_student import build_student, tokenizer_of
from conaclip_edge.distill.trainer import distill
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.teacher.load import load_teacher
from tests.helpers import tiny

TEXTS = [f"{colour} {shape} {place}" for colour in tiny.COLOURS for shape in tiny.SHAPES for place in tiny.PLACES]
CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
SAME = {"width": 32, "layers": 2, "heads": 2, "mlp": 32, "activation": "quick_gelu"}


def pictures() -> list[Image]:
    drawn = [tiny.drawing(*text.split()) for text in TEXTS]
    return [picture.crop((8, 0, 40, 32)) for picture in drawn]  # of the tower's size, so that nothing is resized


@pytest.fixture(name="teacher")
def _teacher(world: Path) -> Any:
    return load_teacher(str(world / "teacher"))


@pytest.fixture(name="build")
def _build(tmp_path: Path) -> Callable[..., DualEncoder]:
    def build(teacher: Any, image: dict[str, Any], text: dict[str, Any], init: str = "inherit") -> DualEncoder:
        values = {
            "preset": "vit-s16-text2l",
            "image": {"size": 32, "patch": 16, **CLIP, **SAME, **image},
            "text": {"context": 24, **SAME, **text},
            "init_image": init,
            "init_text": init,
        }
        torch.manual_seed(3)
        config = parse(StudentConfig, values, "test")
        model, tokenizer_json, _ = build_student(config, teacher, TEXTS, tmp_path, pictures=pictures)
        model.tokenizer_json = tokenizer_json
        return model.eval()

    return build


@torch.no_grad()
def embeddings(model: Any) -> tuple[Tensor, Tensor]:
    """A student's embeddings of the pictures and texts."""
    shown = torch.stack([torch.frombuffer(bytearray(one.tobytes()), dtype=torch.uint8) for one in pictures()])
    ids = torch.from_numpy(tokenizer_of(model.tokenizer_json, 24)(TEXTS))
    return model.encode_image(shown.view(-1, 32, 32, 3).permute(0, 3, 1, 2).float() / 255), model.encode_text(ids)


def close_to(teacher: Any, model: DualEncoder) -> list[float]:
    """Mean cosine of pictures and of texts to the teacher's."""
    wanted = teacher.embed_pictures(pictures()), teacher.embed_texts(TEXTS)
    return [float((one * other).sum(dim=1).mean()) for one, other in zip(embeddings(model), wanted, strict=True)]


def test_at_equal_sizes_it_is_the_teacher(teacher: Any, build: Callable[..., DualEncoder]) -> None:
    image, text = embeddings(build(teacher, {}, {}))
    torch.testing.assert_close(image, teacher.embed_pictures(pictures()), rtol=0, atol=2e-6)
    torch.testing.assert_close(text, teacher.embed_texts(TEXTS), rtol=0, atol=2e-6)


@torch.no_grad()
def kill(tower: Any, layer: int, head: int, channels: slice) -> None:
    """Let a layer, a head of the other one, and channels of its MLP add nothing to what the tower gives."""
    dead, other = tower.encoder.layers[layer], tower.encoder.layers[1 - layer]
    for writer in (dead.self_attn.out_proj, dead.mlp.fc2):
        nn.init.zeros_(writer.weight)
        nn.init.zeros_(writer.bias)
    other.self_attn.out_proj.weight[:, 16 * head : 16 * (head + 1)] = 0
    other.mlp.fc2.weight[:, channels] = 0


@pytest.mark.parametrize("layer", [0, 1])
def test_the_parts_that_do_something_are_the_ones_that_it_takes(
    teacher: Any, build: Callable[..., DualEncoder], layer: int
) -> None:
    kill(teacher.model.vision_model, layer, head=0, channels=slice(4, 28))
    kill(teacher.model.text_model, 1 - layer, head=1, channels=slice(0, 24))
    # of one head the width is that of two: the rows keep all their channels, the heads are half of them
    with pytest.raises(
        UserError, match=r"student\.image: the teacher's heads are 16 wide.*heads=2 student\.image\.width=32"
    ):
        build(teacher, {"heads": 1}, {})
    image, text = embeddings(build(teacher, {"layers": 1, "mlp": 8}, {"layers": 1, "mlp": 8}))
    torch.testing.assert_close(image, teacher.embed_pictures(pictures()), rtol=0, atol=2e-6)
    torch.testing.assert_close(text, teacher.embed_texts(TEXTS), rtol=0, atol=2e-6)


@torch.no_grad()
def quieten(tower: nn.Module, table: str, quiet: Tensor) -> None:
    """Let channels of the rows that pass all layers stay near zero."""
    for name, value in tower.named_parameters():
        if re.search(r"(out_proj|fc2)\.(weight|bias)$|patch_embedding|class_embedding", name):
            value[quiet] *= 0.01
        if name.endswith(("position_embedding.weight", table)):
            value[:, quiet] *= 0.01


def test_a_narrower_student_takes_the_channels_that_carry_something(
    teacher: Any, build: Callable[..., DualEncoder]
) -> None:
    for tower in (teacher.model.vision_model, teacher.model.text_model):
        quieten(tower, "token_embedding.weight", torch.arange(0, 32, 2))
        for layer in tower.encoder.layers:
            nn.init.zeros_(layer.self_attn.out_proj.weight[:, :16])
    half = {"width": 16, "heads": 1}
    inherited, fresh = (close_to(teacher, build(teacher, half, half, init)) for init in ("inherit", "none"))
    assert min(inherited) > 0.7
    assert max(fresh) < 0.5


@pytest.mark.parametrize(
    ("image", "text", "said"),
    [
        ({"layers": 3}, {}, r"student\.image\.layers is 3, the teacher's 2: a student inherits from a larger tower\."),
        ({}, {"mlp": 64}, r"student\.text\.mlp is 64, the teacher's 32: a student inherits from a larger tower\."),
        ({"heads": 1}, {}, r"student\.image: the teacher's heads are 16 wide.*heads=2 student\.image\.width=32\."),
        ({"patch": 8}, {}, r"student\.image\.patch is 8, the teacher's 16: set it to that\."),
        ({"activation": "gelu"}, {}, r"student\.image\.activation is gelu, the teacher's quick_gelu: set it to that\."),
        ({}, {"context": 30}, r"student\.text\.context is 30, the teacher's 24: set it to that\."),
    ],
)
def test_what_is_no_part_of_the_teacher_is_named(
    teacher: Any, build: Callable[..., DualEncoder], image: dict[str, Any], text: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        build(teacher, image, text)


def test_another_tower_and_another_teacher_are_refused(teacher: Any, tmp_path: Path) -> None:
    for key in ("init_image", "init_text"):
        config = parse(StudentConfig, {"preset": "demo", key: "inherit"}, "test")
        teacher.kind = "siglip" if key == "init_text" else "clip"
        with pytest.raises(UserError, match=rf"^student\.{key}: inherit "):
            build_student(config, teacher, TEXTS, tmp_path)


def test_a_training_inherits_by_its_own_pictures(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    student = {"image": CLIP | SAME, "text": SAME | {"context": 24}, "init_image": "inherit", "init_text": "inherit"}
    record = distill(settings(steps=1, lr=1e-9, student=student), Path("out"))
    assert record.val.mean_recall == pytest.approx(record.teacher.recall["val"].mean_recall, abs=1e-6)
