"""The choices of a recipe, by data, teacher and machine."""

from __future__ import annotations

import pytest

from conaclip_edge.setup.data_summary import DataSummary, scripts_of
from conaclip_edge.setup.recipe.measure import TeacherSummary
from conaclip_edge.setup.recipe.plan import choose, cost_of, within


def data(train: int = 200, captioned: int | None = None, captions: int | None = None) -> DataSummary:
    some = train if captioned is None else captioned
    return DataSummary(
        name="imagefolder:d",
        format="imagefolder",
        path="d",
        pictures=train + 20,
        captioned=some + 20,
        captions=some + 20 if captions is None else captions,
        splits={"train": train, "val": 10, "test": 10},
        captioned_splits={"train": some, "val": 10, "test": 10},
        decoded=train + 20,
        missing=0,
        broken=0,
        first_broken=(),
        scripts={"LATIN": 1.0},
        licence="",
    )


def teacher(parameters: int = 151_000_000, text_seconds: float = 0.01, width: int = 512) -> TeacherSummary:
    return TeacherSummary(
        source="t",
        made=True,
        type="clip",
        parameters=parameters,
        embed_dim=512,
        context=77,
        vocabulary=49_408,
        text_width=width,
        gives_text_layers=True,
        picture_seconds=0.05,
        text_seconds=text_seconds,
        caption_ids=12,
        cut_captions=0.0,
        ids_per_letter=0.0,
    )


def test_a_large_teacher_gets_the_mobile_student_a_small_one_the_demo_s() -> None:
    assert choose(data(), teacher(), gpu=False).preset == "mobile"
    assert choose(data(), teacher(27_000_000), gpu=False).preset == "demo"


def test_a_processor_gets_smaller_pictures_and_at_most_an_hour() -> None:
    on_cpu, on_gpu = choose(data(50_000), teacher(), gpu=False), choose(data(50_000), teacher(), gpu=True)
    assert (on_cpu.image_size, on_gpu.image_size) == (160, None)
    assert on_gpu.bf16
    timed = within(on_cpu, 10.0, gpu=False)
    assert (timed.steps + timed.int8_steps) * 10.0 == 3600
    assert within(on_gpu, 10.0, gpu=True).steps == on_gpu.steps
    assert within(on_cpu, 1000.0, gpu=False).steps == 100


@pytest.mark.parametrize(("train", "batch"), [(8, 4), (40, 32), (200, 64), (100_000, 64)])
def test_a_batch_fits_the_train_pictures(train: int, batch: int) -> None:
    assert choose(data(train), teacher(), gpu=False).batch_size == batch


def test_unpaired_pictures_get_their_share_of_a_batch() -> None:
    assert choose(data(200, captioned=200), teacher(), gpu=False).unpaired == 0
    assert choose(data(200, captioned=150), teacher(), gpu=False).unpaired == 0.25
    assert choose(data(200, captioned=20), teacher(), gpu=False).unpaired == 0.5


def test_made_up_texts_take_the_teacher_some_minutes_at_most() -> None:
    assert choose(data(), teacher(text_seconds=0.01), gpu=False).synthetic_texts == 12_000
    assert choose(data(), teacher(text_seconds=0.1), gpu=False).synthetic_texts == 3000
    assert choose(data(captions=100_000), teacher(), gpu=False).synthetic_texts == 0


def test_a_vocabulary_that_the_teacher_embeds_takes_it_some_minutes_at_most() -> None:
    copied, embedded = teacher(text_seconds=0.1), teacher(text_seconds=0.1, width=768)
    assert choose(data(), copied, gpu=False).frequent == 10_000
    assert choose(data(), embedded, gpu=False).frequent == 3000
    assert choose(data(), teacher(text_seconds=1.0, width=768), gpu=False).frequent == 2000


def test_a_vocabulary_that_the_teacher_embeds_is_a_part_of_the_cost() -> None:
    copied, embedded = teacher(), teacher(width=768)  # of one width with the student's, or of another
    plan = choose(data(), copied, gpu=False)
    costs = [cost_of(plan, data(), one, 1.0).teacher_seconds for one in (copied, embedded)]
    assert costs[1] - costs[0] == pytest.approx(plan.frequent * 0.01)


def test_the_cost_grows_with_data_and_steps() -> None:
    small = choose(data(), teacher(), gpu=False)
    large = choose(data(20_000), teacher(), gpu=False)
    costs = [cost_of(plan, found, teacher(), 1.0) for plan, found in ((small, data()), (large, data(20_000)))]
    assert costs[0].training_seconds == small.steps + small.int8_steps
    assert costs[0].teacher_seconds < costs[1].teacher_seconds
    assert costs[0].disk_bytes < costs[1].disk_bytes
    assert costs[0].memory_bytes > 4 * teacher().parameters


def test_scripts_are_shares_of_letters() -> None:
    assert scripts_of(["ab", "жж!", "12"]) == {"LATIN": 0.5, "CYRILLIC": 0.5}
    assert scripts_of(["猫 cat", "ねこ"]) == pytest.approx({"LATIN": 0.5, "HIRAGANA": 1 / 3, "CJK": 1 / 6})
    assert scripts_of(["🎉 42"]) == {}
