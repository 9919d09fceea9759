from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from conaclip_edge.benchmarks.measure.latency import Condition, conditions, measure_latency
from conaclip_edge.benchmarks.measure.models import Spec, open_model
from conaclip_edge.config.benchmark import BenchmarkConfig, RoundsConfig
from tests.helpers.benchmarks.small_towers import picture_tower, small_bundle, text_tower

IDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "red": 4, "blue": 5}


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> Spec:
    bundle = small_bundle(tmp_path_factory.mktemp("bundle") / "bundle", {})
    tokenizer = Tokenizer(models.WordLevel(IDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(name, IDS[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(bundle / "tokenizer.json"))
    image, text = picture_tower(bundle / "image.fp32.onnx"), text_tower(bundle / "text.fp32.onnx")
    return Spec("row", "files", str(bundle), image, text, shipped=True)


def test_a_text_goes_in_at_its_own_length_and_padded_where_that_is_asked_for(spec):
    encoder = open_model(spec, 1)
    assert encoder.tokens(["red blue"], False).tolist() == [[2, 4, 5, 3]]
    assert encoder.tokens(["red blue"], True).tolist() == [[2, 4, 5, 3, 0, 0, 0, 0]]
    assert encoder.tokens(["red", "red blue"], False).tolist() == [[2, 4, 3, 0], [2, 4, 5, 3]]
    padded = open_model(Spec("row", "files", spec.source, spec.image, spec.text, padded=True), 1)
    assert padded.tokens(["red"], False).shape == (1, 8)


def test_pictures_go_in_as_float_pixels_of_the_bundles_size(spec):
    encoder = open_model(spec, 1)
    pixels = encoder.pixels([Image.new("RGB", (20, 9), (255, 0, 51)), Image.new("RGB", (4, 4))])
    assert pixels.shape == (2, 3, 4, 4)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(encoder.image(pixels)[0], [1, 0, 0.2], atol=1e-6)


def test_clip_has_its_shape_and_takes_as_many_ids_as_the_bundles_tokenizer_gives(spec):
    encoder = open_model(Spec("clip", "clip-vit-b32", spec.source), 1)
    assert encoder.tokens(["red blue"], False).shape == (1, 4)
    assert encoder.tokens(["red blue"], True).shape == (1, 77)
    assert encoder.text(encoder.tokens(["red blue"], False)).shape == (1, 512)
    assert encoder.image(encoder.pixels([Image.new("RGB", (30, 20))])).shape == (1, 512)


def png(shade: int) -> bytes:
    import io

    buffer = io.BytesIO()
    Image.new("RGB", (6, 6), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_condition_of_a_suite_is_timed_and_ratios_are_to_comparisons_only(spec):
    suite = BenchmarkConfig(
        batches=(1, 4), inputs=2, rounds=RoundsConfig(warmup=1, min_rounds=8, max_rounds=8, seconds=0.01)
    )
    other = Spec("plain", "files", spec.source, spec.image, spec.text, padded=True)
    found = measure_latency([spec, other], [png(10), png(200)], ["red", "red blue"], 1, True, suite)
    assert [(one.tower, one.batch, one.texts) for one in found["row"].latencies] == [
        ("image", 1, None),
        ("text", 1, "captions"),
        ("text", 1, "full context"),
        ("image", 4, None),
        ("text", 4, "captions"),
    ]
    for one in found["row"].latencies:
        assert set(one.ratio_to) == {"plain"}
        assert one.n == 8
    assert all(not one.ratio_to for one in found["plain"].latencies)
    assert list(found["row"].stages) == ["picture", "query"]
    assert not found["plain"].stages


def test_a_batch_that_a_file_does_not_take_is_noted_and_not_fatal(spec, tmp_path):
    import onnx

    model = onnx.load(str(spec.image))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(tmp_path / "one.onnx"))
    fixed = Spec("fixed", "files", spec.source, tmp_path / "one.onnx", spec.text, shipped=True)
    suite = BenchmarkConfig(
        batches=(4,), inputs=2, rounds=RoundsConfig(warmup=1, min_rounds=8, max_rounds=8, seconds=0.01)
    )
    found = measure_latency([fixed], [png(1), png(2)], ["red", "blue"], 1, False, suite)["fixed"]
    assert ("image", 4) not in [(one.tower, one.batch) for one in found.latencies]
    assert found.refused[0] == "pictures, batch 4: not timed, the file takes 1 per call"


def test_headline_conditions_come_first_and_batch_1_is_always_there():
    assert conditions(BenchmarkConfig(batches=(8,), full_context=False)) == [
        Condition("image", 1, None),
        Condition("text", 1, "captions"),
        Condition("image", 8, None),
        Condition("text", 8, "captions"),
    ]
