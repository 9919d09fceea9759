"""What holds for every format: bytes, captions, order, splits and fingerprints."""

from __future__ import annotations

import socket

import pytest

from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.errors import UserError


def held(pairs: Pairs) -> list[tuple[bytes, tuple[str, ...]]]:
    return [(pairs.read(i), tuple(pairs.captions[i])) for i in range(len(pairs))]


def given(samples):
    return [(sample.data, sample.captions) for sample in samples]


def many(samples, count: int, start: int = 0):
    """Samples with bytes of their own."""
    return [
        samples[0]._replace(name=f"{i}.jpg", data=samples[0].data + b"%d" % i, captions=(f"number {i}",))
        for i in range(start, start + count)
    ]


def test_bytes_captions_and_order_arrive_unchanged(write, samples, tmp_path):
    assert held(read_pairs(write(tmp_path / "data", samples))) == given(samples)


def test_second_reading_from_the_cache_gives_the_same(write, samples, tmp_path, cache):
    config = write(tmp_path / "data", samples)
    first = read_pairs(config)
    made = sorted(cache.rglob("*.arrow"))
    second = read_pairs(config)
    assert held(second) == given(samples)
    assert second.fingerprint == first.fingerprint
    assert sorted(cache.rglob("*.arrow")) == made


def test_keys_are_unique_and_name_the_picture(write, samples, tmp_path):
    pairs = read_pairs(write(tmp_path / "data", samples))
    assert len(set(pairs.keys)) == len(samples)
    assert pairs.keys[-1] == list(pairs.keys)[len(samples) - 1]
    with pytest.raises(IndexError):
        pairs.keys[len(samples)]


def test_fingerprint_is_of_the_content_and_not_of_the_place(write, samples, tmp_path):
    here = read_pairs(write(tmp_path / "here" / "data", samples))
    there = read_pairs(write(tmp_path / "there" / "data", samples))
    assert here.fingerprint == there.fingerprint


@pytest.mark.parametrize("part", ["caption", "picture", "order", "number"])
def test_fingerprint_tells_a_changed_part(write, samples, tmp_path, part):
    changed = list(samples)
    if part == "caption":
        changed[1] = changed[1]._replace(captions=("008",))
    elif part == "picture":
        changed[4] = changed[4]._replace(data=changed[4].data + b"\0")
    elif part == "order":
        changed.reverse()
    else:
        changed.pop()
    before = read_pairs(write(tmp_path / "before" / "data", samples))
    after = read_pairs(write(tmp_path / "after" / "data", changed))
    assert before.fingerprint != after.fingerprint


def test_picture_without_caption_is_kept_unpaired(write, samples, tmp_path):
    rows = [*samples[:2], samples[2]._replace(captions=()), samples[3]]
    assert held(read_pairs(write(tmp_path / "data", rows))) == given(rows)


def test_picture_mentioned_again_is_one_picture_with_more_captions(write, samples, tmp_path):
    again = samples[0]._replace(captions=("a third caption",))
    merged = samples[0]._replace(captions=(*samples[0].captions, "a third caption"))
    assert held(read_pairs(write(tmp_path / "data", [*samples, again]))) == given([merged, *samples[1:]])


def test_splits_stay_when_pictures_are_added(write, samples, tmp_path):
    config = write(tmp_path / "few" / "data", many(samples, 120))
    more = write(tmp_path / "more" / "data", many(samples, 200))
    few = read_pairs(config.model_copy(update={"val_fraction": 0.2, "test_fraction": 0.3}))
    more = read_pairs(more.model_copy(update={"val_fraction": 0.2, "test_fraction": 0.3}))
    before, after = (dict(zip(pairs.keys, pairs.splits, strict=True)) for pairs in (few, more))
    assert before == {key: after[key] for key in before}
    # 200 pictures: the binomial bounds of 6 standard deviations
    assert 6 < len(more.rows("val")) < 74
    assert 21 < len(more.rows("test")) < 99
    assert 41 < len(few.rows("train")) < 93 + 6


def test_empty_data_set_is_named(write, tmp_path):
    with pytest.raises(UserError, match=r"no picture in .*data|no member of .*data is named like a picture"):
        read_pairs(write(tmp_path / "data", []))


def test_data_set_without_any_caption_is_named(write, samples, tmp_path):
    rows = [sample._replace(captions=()) for sample in samples]
    with pytest.raises(UserError, match=r"none of the 7 pictures in .*data.* has a caption\. Format '"):
        read_pairs(write(tmp_path / "data", rows))


def test_missing_path_is_named(write, samples, tmp_path):
    config = write(tmp_path / "data", samples)
    with pytest.raises(UserError, match=r"no file or folder .*nowhere\. Correct data\.path"):
        read_pairs(config.model_copy(update={"path": tmp_path / "nowhere"}))
    with pytest.raises(UserError, match=r"data\.path is not set: format"):
        read_pairs(config.model_copy(update={"path": None}))


def test_folder_of_another_format_is_named(write, samples, tmp_path):
    config = write(tmp_path / "data", samples)
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=r"no .*\.(jsonl|parquet|tar|json|tsv).* in .*other\. Correct data\.path or"):
        read_pairs(config.model_copy(update={"path": tmp_path / "other"}))


def test_no_network_is_touched(write, samples, tmp_path, monkeypatch):
    tried = []

    def refuse(*place: object) -> None:
        tried.append(place)
        raise OSError("no network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(read_pairs(write(tmp_path / "data", samples))) == len(samples)
    assert not tried
