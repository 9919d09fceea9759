"""The cache of teacher embeddings: right, complete, resumable, and another one whenever anything differs."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.pixel_cache import pixel_reader
from conaclip_edge.data.preprocess import Preprocess, augment, decode, to_pixels
from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.teacher_cache import shards, store
from conaclip_edge.teacher_cache.store import cache_key, teacher_cache, write_cache
from tests.helpers.tiny import COLOURS, SHAPES, PixelTeacher, drawing

BROKEN = 5


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def made(broken: Sequence[int] = (), stamp: str = "1") -> Pairs:
    """Sixteen drawings with one to three captions each, some of them cut off."""
    names = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    data = [png(drawing(colour, shape, "left")) for colour, shape in names]
    for row in broken:
        data[row] = data[row][:40]
    captions = [[f"{colour} {shape}", *["more"] * (row % 3)] for row, (colour, shape) in enumerate(names)]
    return Pairs("drawn", [f"{c}-{s}" for c, s in names], captions, ["train"] * 16, data.__getitem__, stamp)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_ROWS", 4)
    monkeypatch.setattr(shards, "BATCH_ROWS", 3)


@pytest.mark.usefixtures("small_shards")
def test_the_cache_is_what_the_teacher_says(tmp_path: Path, world: Path) -> None:
    pairs, teacher = made(), load_teacher(str(world / "teacher"))
    cache = teacher_cache(pairs, teacher, tmp_path)
    direct = teacher.embed_pictures([decode(pairs.read(row)) for row in range(16)])
    assert np.allclose(cache.pictures(np.arange(16)), direct.numpy(), atol=1e-6)
    texts = [text for captions in pairs.captions for text in captions]
    assert np.allclose(cache.texts(np.arange(len(texts))), teacher.embed_texts(texts).numpy(), atol=1e-5)
    assert cache.first_text.tolist() == np.cumsum([0, *map(len, pairs.captions)]).tolist()
    assert np.allclose(np.linalg.norm(cache.pictures(np.arange(16)), axis=1), 1, atol=1e-6)
    assert cache.usable.all()


@pytest.mark.usefixtures("small_shards")
def test_rows_come_in_the_asked_order(tmp_path: Path) -> None:
    cache = teacher_cache(made(), PixelTeacher(), tmp_path, views=2)
    rows, views = np.array([15, 0, 7, 7]), np.array([0, 1, 1, 0])
    found = cache.pictures(rows, views)
    for place, (row, view) in enumerate(zip(rows, views, strict=True)):
        assert np.array_equal(found[place], cache.pictures(np.array([row]), int(view))[0])
    assert np.array_equal(cache.texts(np.array([9, 0])), cache.texts(np.arange(10))[[9, 0]])


@pytest.mark.usefixtures("small_shards")
def test_the_teacher_runs_once(tmp_path: Path) -> None:
    teacher = PixelTeacher()
    teacher_cache(made(), teacher, tmp_path)
    assert (len(teacher.seen), teacher.texts_seen) == (16, sum(map(len, made().captions)))
    again = PixelTeacher()
    teacher_cache(made(), again, tmp_path)
    assert (len(again.seen), again.texts_seen) == (0, 0)


class Killed(PixelTeacher):
    """Dies when it has seen so many pictures."""

    def __init__(self, after: int):
        super().__init__()
        self.after = after

    def pixels(self, pictures: list[Image.Image]) -> torch.Tensor:
        if len(self.seen) + len(pictures) > self.after:
            raise KeyboardInterrupt
        return super().pixels(pictures)


@pytest.mark.usefixtures("small_shards")
def test_a_killed_run_goes_on_at_its_last_shard_and_still_knows_what_was_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = made(broken=[1, 14])
    whole = teacher_cache(pairs, PixelTeacher(), tmp_path / "whole", max_bad=0.2)
    with pytest.raises(KeyboardInterrupt):
        teacher_cache(pairs, Killed(after=9), tmp_path / "killed", max_bad=0.2)
    assert not list((tmp_path / "killed").rglob("*.tmp"))
    second = PixelTeacher()
    resumed = teacher_cache(pairs, second, tmp_path / "killed", max_bad=0.2)
    assert len(second.seen) == 7  # the third and the fourth shard, less one broken picture
    assert np.array_equal(resumed.pictures(np.arange(16)), whole.pictures(np.arange(16)))
    assert resumed.usable.tolist() == whole.usable.tolist() == [row not in (1, 14) for row in range(16)]
    assert resumed.bad == whole.bad
    assert [reason.split(":")[0] for reason in resumed.bad] == ["red-box", "black-bar"]
    assert capsys.readouterr().err.count("2 of 16 pictures left out: red-box: cannot be decoded") == 2


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("other weights", lambda pairs, teacher: (pairs, PixelTeacher("pixel/2"), 1, 10**6)),
        ("other pictures", lambda pairs, teacher: (replace(pairs, stamp="2"), teacher, 1, 10**6)),
        ("other captions", lambda pairs, teacher: (replace(pairs, captions=[["x"]] * 16), teacher, 1, 10**6)),
        ("other order", lambda pairs, teacher: (replace(pairs, keys=pairs.keys[::-1]), teacher, 1, 10**6)),
        ("more views", lambda pairs, teacher: (pairs, teacher, 2, 10**6)),
        ("another size limit", lambda pairs, teacher: (pairs, teacher, 1, 10**7)),
    ],
)
def test_what_embeddings_depend_on_makes_another_cache(
    name: str, change: Callable[[Pairs, PixelTeacher], tuple[Pairs, PixelTeacher, int, int]]
) -> None:
    assert cache_key(*change(made(), PixelTeacher())) != cache_key(made(), PixelTeacher(), 1, 10**6), name


def test_name_and_splits_do_not_make_another_cache() -> None:
    other = replace(made(), name="renamed", splits=["val"] * 16)
    assert cache_key(other, PixelTeacher(), 1) == cache_key(made(), PixelTeacher(), 1)


def test_moving_a_caption_to_the_next_picture_makes_another_cache() -> None:
    one, other = ([["a"], ["b", "c"]], [["a", "b"], ["c"]])
    keys = [
        cache_key(replace(made(), keys=["x", "y"], captions=captions), PixelTeacher(), 1) for captions in (one, other)
    ]
    assert keys[0] != keys[1]


def test_too_many_broken_pictures_end_the_run_and_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        teacher_cache(made(broken=range(7)), PixelTeacher(), tmp_path, max_bad=0.4)
    text = str(error.value)
    assert text.startswith("data set 'drawn': 7 of 16 pictures cannot be used, more than max_bad = 40.0%: red-disc: ")
    assert "and 2 more" in text
    assert text.endswith("Mend them, or raise data.max_bad.")


def test_the_share_of_broken_pictures_that_is_allowed_is_allowed(tmp_path: Path) -> None:
    assert len(teacher_cache(made(broken=[0, 3]), PixelTeacher(), tmp_path, max_bad=2 / 16).bad) == 2


def test_pictures_that_the_reader_skipped_count_as_broken(tmp_path: Path) -> None:
    lost = ["lost.png: no such file", "gone.png: no such file"]
    pairs = replace(made(), skipped=lost)
    assert teacher_cache(pairs, PixelTeacher(), tmp_path, max_bad=0.2).bad == lost
    with pytest.raises(UserError, match=r"2 of 18 pictures cannot be used.*lost\.png"):
        teacher_cache(pairs, PixelTeacher(), tmp_path, max_bad=0.05)


def test_a_picture_over_the_limit_is_left_out(tmp_path: Path) -> None:
    data = [*(png(drawing("red", "box", "left")) for _ in range(3)), png(Image.new("1", (2000, 1001)))]
    pairs = Pairs("drawn", list("abcd"), [["x"]] * 4, ["train"] * 4, data.__getitem__, "")
    cache = teacher_cache(pairs, PixelTeacher(), tmp_path, max_bad=0.5, max_pixels=2_000_000)
    assert cache.usable.tolist() == [True, True, True, False]
    assert cache.bad == ["d: 2000x1001 pixels are more than max_pixels = 2000000"]


def test_the_student_sees_the_very_views_that_the_teacher_saw(tmp_path: Path) -> None:
    pairs, teacher = made(broken=[BROKEN]), PixelTeacher()
    cache = teacher_cache(pairs, teacher, tmp_path, views=3, max_bad=0.1)
    rows = np.flatnonzero(cache.usable)
    assert BROKEN not in rows
    read = pixel_reader(pairs, rows, Preprocess(16), 3, tmp_path)
    seen = iter(teacher.seen)
    for view in range(3):
        for row in rows:
            picture = Image.fromarray(next(seen))
            plain = decode(pairs.read(row))
            wanted = plain if view == 0 else augment(plain, (view, int(row)))
            assert np.array_equal(picture, wanted)
            assert np.array_equal(read(np.array([row]), np.array([view]))[0], to_pixels(picture, 16))
            direct = PixelTeacher().embed_pictures([picture])[0].numpy()
            assert np.allclose(cache.pictures(np.array([row]), view)[0], direct, atol=1e-6)


def test_pixels_are_the_same_kept_or_on_the_fly(tmp_path: Path) -> None:
    rows, views = np.array([3, 0, 15]), np.array([1, 0, 1])
    kept = pixel_reader(made(), np.arange(16), Preprocess(16), 2, tmp_path)(rows, views)
    fresh = pixel_reader(made(), np.arange(16), Preprocess(16), 2, tmp_path / "none", limit_bytes=0)(rows, views)
    assert not (tmp_path / "none").exists()
    assert np.array_equal(kept, fresh)


def test_a_picture_that_broke_since_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="picture red-box changed since the teacher saw it: cannot be decoded"):
        pixel_reader(made(broken=[1]), np.arange(16), Preprocess(16), 1, tmp_path)


def test_a_cache_that_was_written_by_hand_is_opened_without_the_teacher(tmp_path: Path) -> None:
    pairs, random = made(broken=[BROKEN]), np.random.default_rng(0)
    source = teacher_cache(pairs, PixelTeacher(), tmp_path, max_bad=0.1)
    teacher = PixelTeacher("joined")
    pictures, texts = (random.random((n, 4), dtype=np.float32) for n in (16, sum(map(len, pairs.captions))))
    write_cache(pairs, teacher, tmp_path, pictures, texts, source)  # type: ignore[arg-type]  # quacks like one
    cache = teacher_cache(pairs, teacher, tmp_path, max_bad=0.1)
    assert not teacher.seen
    assert np.array_equal(cache.pictures(np.arange(16)), pictures)
    assert np.array_equal(cache.texts(np.arange(len(texts))), texts)
    assert cache.bad == source.bad
    assert cache.usable.tolist() == source.usable.tolist()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-7], lambda data: b"\0" * 300, lambda data: b"", lambda data: b"\x99" * 80]
)
def test_a_damaged_shard_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    cache = teacher_cache(made(), PixelTeacher(), tmp_path)
    shard = cache.folder / "texts-00000.safetensors"
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(UserError, match=r"cache shard .*texts-00000\.safetensors is damaged\. Delete it"):
        teacher_cache(made(), PixelTeacher(), tmp_path)


def test_only_plain_train_pictures_are_decoded_smaller(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    random = np.random.default_rng(0).integers(0, 255, (15, 20, 3), dtype=np.uint8)
    Image.fromarray(random).resize((400, 300)).save(buffer, "JPEG")
    data, rows = [buffer.getvalue()] * 3, np.arange(3)
    pairs = Pairs("drawn", list("abc"), [["x"]] * 3, ["train", "val", "test"], data.__getitem__, "")
    read, whole = pixel_reader(pairs, rows, Preprocess(48), 2, tmp_path, limit_bytes=0), decode(data[0])
    found = read(rows, rows * 0)
    assert not np.array_equal(found[0], to_pixels(whole, 48))
    assert np.array_equal(found[1], to_pixels(whole, 48))
    assert np.array_equal(found[2], to_pixels(whole, 48))
    assert np.array_equal(read(rows, rows * 0 + 1)[0], to_pixels(augment(whole, (1, 0)), 48))


@pytest.mark.usefixtures("small_shards")
def test_workers_and_the_teacher_itself_prepare_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS_PER_WORKER", 4)
    pairs = made(broken=[BROKEN])
    alone = teacher_cache(pairs, PixelTeacher(), tmp_path / "alone", views=2, max_bad=0.1)
    teacher = PixelTeacher()
    helped = teacher_cache(pairs, teacher, tmp_path / "helped", views=2, max_bad=0.1, workers=2)
    assert not teacher.seen  # others saw them
    assert {file.name: file.read_bytes() for file in alone.folder.iterdir()} == {
        file.name: file.read_bytes() for file in helped.folder.iterdir()
    }
    assert helped.bad == alone.bad
