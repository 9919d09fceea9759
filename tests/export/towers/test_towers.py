"""Export-ready towers are the trained student, in another form."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conaclip_edge.errors import UserError
from conaclip_edge.export.towers.layers import Conv
from conaclip_edge.export.towers.towers import OtherImageTower, build_towers, image_tower, text_tower
from conaclip_edge.models.student.checkpoint import load_student
from tests.helpers.small_students import CONTEXT, EOS, SIZE, VOCAB, pictures, student, text

EXACT = 1e-5


def ids(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int32)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("kind", ["vit", "mobile"])
def test_image_tower_equals_the_trained_student(kind, activation):
    model = student(kind, activation)
    x = pictures(3)
    torch.testing.assert_close(image_tower(model)(x), model.encode_image(x), atol=EXACT, rtol=0)


@pytest.mark.parametrize(("unread", "left"), [(0, 48), (15, 48), (16, 32), (20, 32), (32, 16), (48, 48)])
def test_channels_that_nothing_reads_are_left_out_in_whole_groups(unread, left):
    model = student("mobile")
    block = model.image.mobile.blocks[2]
    with torch.no_grad():
        block.project.conv.weight[:, torch.randperm(48)[:unread]] = 0
    tower = image_tower(model)
    layers = (tower.blocks[2].expand, tower.blocks[2].depthwise)
    assert {layer.conv.out_channels for layer in layers} == {left}
    assert tower.blocks[2].project.conv.in_channels == left
    torch.testing.assert_close(tower(pictures(3)), model.encode_image(pictures(3)), atol=EXACT, rtol=0)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_text_tower_equals_the_trained_student_at_every_length(activation):
    model = student(activation=activation)
    tower = text_tower(model)
    for length in range(2, CONTEXT + 1):
        rows = ids(text(length, seed=1), text(length, seed=2))
        torch.testing.assert_close(tower(rows), model.encode_text(rows), atol=EXACT, rtol=0)


def test_a_tower_of_one_layer_is_its_own_last_block():
    model = student()
    del model.text.clip.text_model.encoder.layers[1:]
    del model.image.vit.vision_model.encoder.layers[1:]
    towers = build_towers(model, "one")
    rows = ids(text(7))
    torch.testing.assert_close(towers.text(rows), model.encode_text(rows), atol=EXACT, rtol=0)
    torch.testing.assert_close(towers.image(pictures(2)), model.encode_image(pictures(2)), atol=EXACT, rtol=0)


def test_text_tower_reads_the_first_of_several_eos():
    model = student()
    row = text(9, seed=3)
    row[4] = EOS
    full, cut = ids(row), ids(row[:5])
    torch.testing.assert_close(text_tower(model)(full), model.encode_text(full), atol=EXACT, rtol=0)
    torch.testing.assert_close(text_tower(model)(full), text_tower(model)(cut), atol=EXACT, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_padding_cannot_change_an_embedding(data):
    tower = _TOWER
    length = data.draw(st.integers(2, CONTEXT - 1))
    row = text(length, seed=data.draw(st.integers(0, 1000)))
    padding = data.draw(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=CONTEXT - length))
    torch.testing.assert_close(tower(ids(row + padding)), tower(ids(row)), atol=EXACT, rtol=0)


_TOWER = text_tower(student())


def test_the_order_of_words_matters():
    row = text(8, seed=4)
    swapped = [row[1], row[0], *row[2:]]
    assert (_TOWER(ids(row)) - _TOWER(ids(swapped))).abs().max() > 1e-3


def test_eos_id_2_pools_where_transformers_does():
    # transformers takes 2 for its legacy value and pools at the largest id; so was such a student trained
    model = student(eos=2)
    rows = ids([7, 49, 9, 2, 0], [3, 30, 2, 44, 44])
    torch.testing.assert_close(text_tower(model)(rows), model.encode_text(rows), atol=EXACT, rtol=0)


@pytest.mark.parametrize("eos", [2, VOCAB - 1])
def test_a_clip_folder_with_legacy_or_current_eos_gives_the_same_tower(tmp_path, eos):
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    torch.manual_seed(0)
    text_part = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=text_part
        | {"vocab_size": VOCAB, "max_position_embeddings": CONTEXT, "eos_token_id": eos, "bos_token_id": 0},
        vision_config=text_part | {"image_size": SIZE, "patch_size": 8},
        projection_dim=16,
    )
    clip = CLIPModel(config).eval()
    clip.save_pretrained(tmp_path)
    square = {"height": SIZE, "width": SIZE}
    CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=square).save_pretrained(tmp_path)
    _write_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', "utf-8")
    tower = text_tower(load_student(tmp_path).model)
    rows = ids([0, 5, 9, VOCAB - 1, VOCAB - 1], [0, 7, VOCAB - 1, 3, VOCAB - 1])
    with torch.no_grad():
        expected = clip.get_text_features(input_ids=rows.long()).pooler_output
    torch.testing.assert_close(tower(rows), torch.nn.functional.normalize(expected, dim=-1), atol=EXACT, rtol=0)


def _write_tokenizer(path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{i}": i for i in range(VOCAB - 1)} | {"<|endoftext|>": VOCAB - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    path.write_text(tokenizer.to_str(), "utf-8")


def test_embeddings_have_length_1():
    towers = build_towers(student("mobile"), "m")
    for made in (towers.image(pictures(2)), towers.text(ids(text(6)))):
        torch.testing.assert_close(made.norm(dim=-1), torch.ones(len(made)), atol=EXACT, rtol=0)


def test_masks_stay_finite_in_float16():
    for tower in (build_towers(student(), "m").image, _TOWER):
        for name, value in itertools.chain(tower.named_buffers(), tower.named_parameters()):
            assert value.half().isfinite().all(), name
    half = text_tower(student()).half()
    half_rows = half.table(ids(text(6))) + half.position[:6]
    assert half.blocks[0](half_rows, half.mask[:6, :6].unsqueeze(0)).isfinite().all()


def test_batch_norm_is_gone_from_the_mobile_tower():
    tower = image_tower(student("mobile"))
    assert not [m for m in tower.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(m.conv.bias is not None for m in tower.modules() if isinstance(m, Conv))


def test_a_kind_without_a_form_of_its_own_is_exported_as_trained_with_batch_norms_folded():
    model = student("mobile")
    tower = OtherImageTower(model).eval()
    torch.testing.assert_close(tower(pictures(3)), model.encode_image(pictures(3)), atol=EXACT, rtol=0)
    assert not [m for m in tower.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)], "the student itself has lost them"


def test_only_the_pooled_row_passes_the_last_block():
    tower = image_tower(student())
    seen = {}
    for index, block in enumerate(tower.blocks):
        block.fc1.register_forward_pre_hook(lambda _, args, index=index: seen.update({index: args[0].shape[1]}))
    tower(pictures(1))
    assert seen == {0: (SIZE // 8) ** 2 + 1, 1: 1}


def test_an_activation_without_an_export_is_named():
    with pytest.raises(UserError, match=r"unknown activation 'gelu_new'.*Known: gelu, gelu_pytorch_tanh, quick_gelu"):
        image_tower(student(activation="gelu_new"))


def test_the_student_is_left_untouched():
    model = student("mobile")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    build_towers(model, "m")
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
