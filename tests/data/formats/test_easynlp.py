"""Format easynlp: spellings of base64, splits and what is refused."""

from __future__ import annotations

import base64
import tracemalloc

import pyarrow as pa
import pytest

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.errors import UserError

# its base64 has both signs in which the alphabets differ, and padding
PICTURE = b"\xfb\xff\xfe picture"


def table(path, *lines, end=b"\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(end.join(lines))
    return DataConfig(format="easynlp", path=path)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_every_spelling_of_base64_is_the_same_picture(tmp_path, end):
    standard, url_safe = base64.b64encode(PICTURE), base64.urlsafe_b64encode(PICTURE)
    assert standard != url_safe != url_safe.rstrip(b"=")
    spellings = (standard, url_safe, standard.rstrip(b"="), url_safe.rstrip(b"="))
    lines = [b"text %d\t" % i + spelling for i, spelling in enumerate(spellings)]
    pairs = read_pairs(table(tmp_path / "a.tsv", *lines, end=end))
    assert len(pairs) == 1
    assert pairs.captions[0] == ("text 0", "text 1", "text 2", "text 3")
    assert pairs.read(0) == PICTURE


@pytest.mark.parametrize("spell", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padded", [True, False])
def test_place_of_a_picture_is_exact_after_wide_text(tmp_path, spell, padded):
    pictures = [PICTURE * 3 + bytes(n) for n in range(5)]
    lines = [f"{'猫' * n} zażółć".encode() + b"\t" + spell(data) for n, data in enumerate(pictures)]
    pairs = read_pairs(table(tmp_path / "a.tsv", *(lines if padded else [line.rstrip(b"=") for line in lines])))
    assert [pairs.read(i) for i in range(5)] == pictures


@pytest.mark.parametrize("val", ["valid.tsv", "dev.tsv", "MUGE_MR_valid_base64_part.tsv"])
def test_splits_come_from_file_names(tmp_path, val):
    for name in ("train.tsv", val, "test.tsv"):
        table(tmp_path / name, b"text\t" + base64.b64encode(name.encode()))
    pairs = read_pairs(DataConfig(format="easynlp", path=tmp_path))
    held = {pairs.read(i).decode(): str(pairs.splits[i]) for i in range(3)}
    assert held == {"train.tsv": "train", val: "val", "test.tsv": "test"}


@pytest.mark.parametrize("broken", [b"%%%%", b"AAAAA", b"AA AA", b"AA=A"])
def test_broken_base64_is_a_skipped_picture(tmp_path, broken):
    config = table(tmp_path / "a.tsv", b"one\t" + base64.b64encode(PICTURE), b"two\t" + broken)
    pairs = read_pairs(config.model_copy(update={"max_bad": 0.5}))
    assert len(pairs) == 1
    assert pairs.skipped[0].startswith("a.tsv line 2: is not base64 (")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b"text\tQUJD", b"no tab"], r"a\.tsv line 2: must be text <TAB> base64 of the picture"),
        ([b"id\ttext\tQUJD"], r"a\.tsv line 1: must be text <TAB> base64 of the picture"),
        ([b"text\tQUJD", b"", b"text\tQUJE"], r"a\.tsv line 2: must be text <TAB> base64 of the picture"),
        ([b"\xff\tQUJD"], r"a\.tsv line 1: its text is not UTF-8 \(byte 0xff at 0\)"),
    ],
)
def test_malformed_table_is_named_with_its_line(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        read_pairs(table(tmp_path / "a.tsv", *lines))


def test_memory_does_not_grow_with_the_pictures(tmp_path):
    lines = [b"text\t" + base64.b64encode(bytes([i]) * 100_000) for i in range(200)]
    config = table(tmp_path / "a.tsv", *lines)
    del lines
    read_pairs(config.model_copy(update={"path": table(tmp_path / "small.tsv", b"text\tQUJD").path}))
    tracemalloc.start()
    pairs = read_pairs(config)
    assert sum(len(pairs.read(i)) for i in range(len(pairs))) == 20_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_captions_stay_on_disk(tmp_path):
    lines = [b"%d " % i + b"x" * 10_000 + b"\t" + base64.b64encode(b"%d" % i) for i in range(300)]
    config = table(tmp_path / "a.tsv", *lines)
    read_pairs(config)
    before = pa.total_allocated_bytes()
    pairs = read_pairs(config)
    assert sum(len(captions[0]) for captions in pairs.captions) > 3_000_000
    assert pa.total_allocated_bytes() - before < 300_000
