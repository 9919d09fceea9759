"""Training: it learns, it logs, every option does what it says, and what cannot go on says why."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from conaclip_edge.distill import trainer
from conaclip_edge.distill import training_data as inputs
from conaclip_edge.distill.examples import numbered
from conaclip_edge.distill.sampler import Sampler
from conaclip_edge.distill.trainer import distill
from conaclip_edge.errors import UserError
from conaclip_edge.models.image_towers.positions import resized_positions
from conaclip_edge.models.student import dual_encoder
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.models.student.dual_encoder import DualEncoder
from tests.helpers import tiny

Log = list[dict[str, Any]]


def log(folder: Path) -> Log:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text("utf-8").splitlines()]


def steps(folder: Path) -> Log:
    return [line for line in log(folder) if "loss" in line]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_student(folder).model.state_dict()


@pytest.mark.parametrize("preset", ["conaclip", "motis", "infonce"])
def test_the_loss_falls(settings: Any, preset: str) -> None:
    distill(settings(steps=60, eval_every=60, lr=0.003, graph={"preset": preset}), Path("out"))
    losses = [line["loss"] for line in steps(Path("out"))]
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:8])


def test_every_step_logs_every_term_and_the_total_is_their_weighted_sum(settings: Any) -> None:
    record = distill(settings(), Path("out"))
    names = {f"{term.edge}/{term.loss}": term.weight for term in record.graph}
    assert [line["step"] for line in steps(Path("out"))] == list(range(12))
    for line in steps(Path("out")):
        assert set(line["terms"]) == set(names)
        assert line["loss"] == pytest.approx(sum(names[name] * value for name, value in line["terms"].items()), 1e-4)
        assert line["gradient_norm"] > 0
    norms = [line for line in log(Path("out")) if "gradient_norms" in line]
    assert [line["step"] for line in norms] == [0, 5, 10]
    assert all(set(line["gradient_norms"]) == set(names) for line in norms)
    assert all(value > 0 for value in norms[0]["gradient_norms"].values())
    assert [line["step"] for line in log(Path("out")) if "val_mean_recall" in line] == [4, 9, 11]


def test_the_record_says_what_was_trained_on_what(settings: Any, world: Path) -> None:
    record = distill(settings(data={"labelled": 0.5}), Path("out"))
    assert json.loads(Path("out/training.json").read_text("utf-8")) == record.model_dump(mode="json")
    assert record.recipe.teacher == str(world / "teacher")
    assert record.data.train_pictures == 29
    assert record.data.labelled_pictures == 14
    assert record.data.left_out == ()
    assert len(record.data.fingerprint) == len(record.teacher.fingerprint) == 64
    assert record.parameters["all"] == sum(value.numel() for value in load_student(Path("out")).model.parameters())
    assert set(record.versions) == {"conaclip-edge", "torch", "transformers", "accelerate"}
    recalls = [value for way in record.val.recall.values() for value in way.values()]
    assert record.val.mean_recall == pytest.approx(np.mean(recalls))


def test_a_recipe_gives_the_same_student_every_time_and_another_seed_another(settings: Any) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        distill(settings(seed=seed, steps=4), Path(name))
    one, two, three = (Path(name, "model.safetensors").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_random_numbers_drawn_before_the_student_is_built_do_not_change_it(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Building a teacher and filling its cache draw some, in the first run alone."""
    distill(settings(steps=2), Path("warm"))
    filled = inputs.cache_of
    monkeypatch.setattr(inputs, "cache_of", lambda *given: (torch.rand(7), filled(*given))[1])
    distill(settings(steps=2), Path("cold"))
    assert Path("cold/model.safetensors").read_bytes() == Path("warm/model.safetensors").read_bytes()


EARLIER = {"init_image": "earlier", "init_text": "earlier"}


def test_training_goes_on_from_an_earlier_student(settings: Any) -> None:
    distill(settings(steps=4), Path("earlier"))
    record = distill(settings(steps=1, lr=1e-12, student=EARLIER), Path("out"))
    before, after = weights(Path("earlier")), weights(Path("out"))
    assert all(torch.allclose(before[name], value, atol=1e-6) for name, value in after.items() if name != "logit_scale")
    towers = load_student(Path("out")).model
    started = sum(part.numel() for tower in (towers.image, towers.text) for part in tower.parameters())
    assert record.parameters["started_from_pretrained"] == started


def test_training_goes_on_at_a_larger_picture_size(settings: Any) -> None:
    distill(settings(steps=4), Path("earlier"))
    larger = {"image": tiny.STUDENT["image"] | {"size": 64}}  # type: ignore[dict-item]  # a dict among plain values
    distill(settings(steps=1, lr=1e-12, student=EARLIER | larger), Path("out"))
    name = "image.vit.vision_model.embeddings.position_embedding.weight"
    before, after = weights(Path("earlier"))[name], weights(Path("out"))[name]
    assert (len(before), len(after)) == (5, 17)
    assert torch.allclose(after, resized_positions(before, 17), atol=1e-6)


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"init_text": "earlier", "text": tiny.STUDENT["text"] | {"mlp": 16}}, "earlier has another shape"),  # type: ignore[operator]  # a dict among plain values
        ({"init_text": "nowhere"}, "no checkpoint at nowhere"),
    ],
)
def test_an_earlier_student_that_does_not_fit_is_refused(settings: Any, student: dict[str, Any], message: str) -> None:
    distill(settings(steps=1), Path("earlier"))
    with pytest.raises(UserError, match=message):
        distill(settings(steps=1, student=student), Path("out"))


def test_an_earlier_student_of_another_vocabulary_is_refused(settings: Any) -> None:
    distill(settings(steps=1), Path("earlier"))
    tokenizer = json.loads(Path("earlier/tokenizer.json").read_text("utf-8"))
    tokenizer["model"]["vocab"]["another"] = tokenizer["model"]["vocab"].pop("a")
    Path("earlier/tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    with pytest.raises(UserError, match=r"init_text: earlier has another vocabulary, so its token rows mean other"):
        distill(settings(steps=1, student={"init_text": "earlier"}), Path("out"))


@pytest.mark.parametrize(
    "changes",
    [
        {"bf16": True},
        {"ema": 0.9},
        {"accumulate": 2},
        {"teacher_views": 3},
        {"graph": {"queue": 30}},
        {"graph": {"queue": 30, "terms": [{"edge": "intra-ts", "loss": "infonce"}]}},
        {"data": {"labelled": 0.3}},
        {"data": {"labelled": 0.3}, "graph": {"preset": "infonce"}},
        {"student": {"vocab": {"keep": "corpus"}, "init_text": "none"}},
        {"student": {"text": tiny.STUDENT["text"] | {"width": 48, "heads": 2}}},
        {
            "student": {
                "preset": "demo",
                "image": {"size": 32, "stages": [[1, 16, 1, 3, 1], [6, 24, 2, 3, 2]]},
                "freeze_blocks": 2,
            }
        },
    ],
    ids=str,
)
def test_every_option_trains_to_a_student_that_loads(settings: Any, changes: dict[str, Any]) -> None:
    distill(settings(**({"steps": 4, "eval_every": 2} | changes)), Path("out"))
    assert all(math.isfinite(line["loss"]) and math.isfinite(line["gradient_norm"]) for line in steps(Path("out")))
    assert all(torch.isfinite(value).all() for value in weights(Path("out")).values())


def test_frozen_blocks_stay_as_they_were_and_the_rest_moves(settings: Any) -> None:
    student = {
        "preset": "demo",
        "image": {"size": 32, "stages": [[1, 16, 1, 3, 1], [6, 24, 2, 3, 2]]},
        "freeze_blocks": 1,
    }
    for name, count in (("short", 1), ("long", 4)):
        distill(settings(steps=count, student=student), Path(name))
    short, long = weights(Path("short")), weights(Path("long"))
    frozen = [name for name in short if name.startswith(("image.mobile.stem.", "image.mobile.blocks.0."))]
    moved = [name for name in short if name.startswith("image.mobile.blocks.1.") and "num_batches" not in name]
    assert frozen
    assert moved
    assert all(torch.equal(short[name], long[name]) for name in frozen)
    assert not any(torch.equal(short[name], long[name]) for name in moved)


@pytest.mark.parametrize("ema", [0.0, 0.6])
def test_the_result_is_the_moving_average_of_the_weights(
    settings: Any, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    seen: list[torch.Tensor] = []
    clamp = DualEncoder.clamp_logit_scale

    def watched(self: DualEncoder) -> None:
        clamp(self)
        seen.append(self.text.clip.text_projection.weight.detach().clone())

    monkeypatch.setattr(DualEncoder, "clamp_logit_scale", watched)
    distill(settings(steps=5, ema=ema), Path("out"))
    wanted = seen[0]
    for each in seen[1:]:
        wanted = ema * wanted + (1 - ema) * each
    assert torch.allclose(weights(Path("out"))["text.clip.text_projection.weight"], wanted, atol=1e-6)


def test_accumulating_the_same_batch_three_times_is_a_step_on_it(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sampler, "rows", lambda self, step, rows=Sampler.rows: rows(self, 0))
    for name, count in (("one", 1), ("three", 3)):
        distill(settings(steps=1, accumulate=count), Path(name))
    (one,), (three,) = steps(Path("one")), steps(Path("three"))
    assert three["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-4)
    assert three["loss"] == pytest.approx(one["loss"], rel=1e-6)


def test_accumulation_goes_through_the_same_batches_as_single_steps(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Sampler, "rows", lambda self, step, rows=Sampler.rows: asked.append(step) or rows(self, step))
    distill(settings(steps=3, accumulate=2), Path("out"))
    assert asked == [0, 1, 2, 3, 4, 5]


def test_bf16_is_near_float32_but_not_the_same_and_losses_are_float32(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, kinds = trainer.graph.compute, set()

    def watched(terms: Any, batch: Any, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        values = compute(terms, batch, scale)
        kinds.update(one.dtype for one in (batch.si, batch.st, batch.ti, batch.tt, scale, *values.values()))
        return values

    monkeypatch.setattr(trainer.graph, "compute", watched)
    for name, bf16 in (("float", False), ("half", True)):
        AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps the first choice of a process
        distill(settings(steps=1, bf16=bf16), Path(name))
    (full,), (half,) = steps(Path("float")), steps(Path("half"))
    for term, value in full["terms"].items():
        assert half["terms"][term] == pytest.approx(value, rel=0.15, abs=0.02)
        assert half["terms"][term] != value
    assert kinds == {torch.float32}
    assert weights(Path("half"))["logit_scale"].dtype == torch.float32


def test_a_queue_makes_the_teacher_terms_harder_from_the_second_step_on(settings: Any) -> None:
    for name, queue in (("plain", 0), ("queue", 100)):
        distill(settings(steps=2, lr=1e-12, graph={"preset": "motis", "queue": queue}), Path(name))
    plain, queue_ = steps(Path("plain")), steps(Path("queue"))
    assert queue_[0]["loss"] == plain[0]["loss"]
    assert queue_[1]["loss"] > plain[1]["loss"] + 0.05


def test_the_logit_scale_is_held_at_its_limit_after_every_step(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dual_encoder, "MAX_LOGIT_SCALE", math.log(10))
    distill(settings(steps=3, lr=1e-6), Path("out"))
    assert [line["logit_scale"] for line in steps(Path("out"))] == pytest.approx([1 / 0.07, 10, 10], rel=1e-4)


def test_only_gradients_within_the_norm_are_applied(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *args: Any, **more: Any) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients)))
        return step(self, *args, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    distill(settings(steps=3, clip=0.5), Path("out"))
    assert norms == pytest.approx([0.5] * 3, rel=1e-3)
    assert all(line["gradient_norm"] > 0.5 for line in steps(Path("out")))


def test_a_loss_that_is_no_number_stops_with_step_and_term(settings: Any) -> None:
    with pytest.raises(UserError, match=r"^loss SI-ST/infonce became nan at step 1\. Lower train\.lr") as error:
        distill(settings(lr=1e30, eval_every=1), Path("out"))
    assert "go on with --resume" in str(error.value)
    assert Path("out.run/state.safetensors").exists()
    assert not Path("out").exists()


def test_the_step_of_the_bad_term_is_named_even_if_it_comes_late(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = trainer.graph.compute
    calls = iter(range(100))

    def poisoned(*args: Any) -> dict[str, torch.Tensor]:
        terms = compute(*args)
        return terms | {"ST-TT/fd": terms["ST-TT/fd"] * math.inf} if next(calls) == 7 else terms

    monkeypatch.setattr(trainer.graph, "compute", poisoned)
    with pytest.raises(UserError, match=r"^loss ST-TT/fd became inf at step 7\."):
        distill(settings(), Path("out"))


def test_a_validation_split_without_captions_is_named_before_training(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.image_folder(tmp_path / "data")
    path = tmp_path / "data" / "metadata.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    bare = [line | {"captions": []} if line["split"] == "val" else line for line in lines]
    path.write_text("\n".join(json.dumps(line) for line in bare), "utf-8")
    monkeypatch.setattr(trainer.Trainer, "train", lambda *_: pytest.fail("trained"))
    with pytest.raises(
        UserError, match="split 'val' of data set 'imagefolder:data' has no usable picture with a caption"
    ):
        distill(settings(data={"path": str(tmp_path / "data")}), Path("out"))


def test_an_unknown_preset_is_named_before_the_teacher_is_loaded(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "load_teachers", lambda _: pytest.fail("loaded"))
    with pytest.raises(UserError, match=r"unknown student preset 'vit-s16-text3l'\. Did you mean 'vit-s16-text"):
        distill(settings(student={"preset": "vit-s16-text3l"}), Path("out"))


def test_a_caption_that_pictures_share_is_right_for_all_of_them(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.image_folder(tmp_path / "data")
    path = tmp_path / "data" / "metadata.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    shared = [line | {"captions": [line["captions"][0].split()[0]]} for line in lines]  # the colour alone
    path.write_text("\n".join(json.dumps(line) for line in shared), "utf-8")
    compute, batches = trainer.graph.compute, []
    monkeypatch.setattr(
        trainer.graph,
        "compute",
        lambda terms, batch, scale: batches.append(batch) or compute(terms, batch, scale),
    )
    distill(settings(steps=1, batch_size=20, data={"path": str(tmp_path / "data")}), Path("out"))
    (batch,) = batches
    colours = [line["file_name"].split("-")[0] for line in lines]
    caption_to_image = [colours[row] for row in batch.picture_ids.tolist()]
    same = [[one == other for other in caption_to_image] for one in caption_to_image]
    assert sum(map(sum, same)) > len(same)
    for edge in ("SI-ST", "SI-TT", "ST-TI", "ST-TT"):
        assert batch.belonging.positives(edge[1], edge[4], slice(None)).tolist() == same


def test_equal_captions_get_equal_numbers() -> None:
    assert numbered([[5, 1], [2], [5, 1], [5]]).tolist() == [0, 1, 0, 2]
