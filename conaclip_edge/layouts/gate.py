"""The gate of a layout: its files under its client's own preprocessing, compared with the bundle they were made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from conaclip_edge.bundle.embeddings import cosines, summary
from conaclip_edge.bundle.golden import FOLDER, read_golden
from conaclip_edge.bundle.open import open_bundle
from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.load import data_config
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import to_pixels
from conaclip_edge.data.usable import UsablePicture, usable_pictures
from conaclip_edge.errors import GateFailed, UserError
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.evaluation.recall import ranks
from conaclip_edge.export.gate.gate import compare_ranks
from conaclip_edge.layouts.client import Client, as_seen
from conaclip_edge.layouts.report import PicturesKept, TextsKept
from conaclip_edge.layouts.source import Source
from conaclip_edge.system.progress import say, track

SPLIT = "val"  # as the gate of an export: calibration saw train, reports are made on test
MOST_PICTURES = 1000
EXACT = 0.9999  # least cosine of the same weights on the same pixels; casts and renames change no more
_SHOWN = 40  # characters of a text


def check_texts(source: Source, client: Client) -> TextsKept:
    """Run a layout's text file over the golden texts.

    Raises:
        GateFailed: an embedding is further from the golden one than the bundle allows of any file.
    """
    golden = read_golden(source.bundle / FOLDER)
    given = [client.ids(text) for text in golden.texts]
    eos = source.manifest.eos_id
    equal = np.asarray([as_seen(ids, eos) == as_seen(right, eos) for ids, right in zip(given, golden.ids, strict=True)])
    if not equal.any():
        raise GateFailed("no golden text gets the ids of the bundle from this client's tokenizer.")
    found = _stacked(client.text(text) for text in golden.texts)
    expected = np.pad(golden.text_embeddings, ((0, 0), (0, found.shape[1] - golden.text_embeddings.shape[1])))
    kept = summary(cosines(found, expected)[equal])
    least = golden.min_cosine["int8"]
    if kept.min < least:
        raise GateFailed(f"least cosine {kept.min:.5f} on the golden texts is below {least}: the text file is wrong.")
    different = tuple(text[:_SHOWN] for text, same in zip(golden.texts, equal, strict=True) if not same)
    return TextsKept(texts=len(given), ids_equal=int(equal.sum()), different=different, cosine=kept)


def check_pixels(source: Source, client: Client) -> float:
    """Return the least cosine of a layout's image file to the bundle's, both on the golden pixels.

    Raises:
        GateFailed: they are not the same.
    """
    golden, bundle = read_golden(source.bundle / FOLDER), open_bundle(source.bundle, source.target, "int8")
    right = bundle.embed_pixels(golden.pixels.astype(np.float32) / 255)
    found = _stacked(client.image(pixels) for pixels in golden.pixels)
    least = float(cosines(found[:, : right.shape[1]], right).min())
    if least < EXACT:
        raise GateFailed(f"least cosine {least:.5f} on the golden pixels is below {EXACT}: the image file is wrong.")
    return least


def check_pictures(source: Source, client: Client, data: Path | None) -> PicturesKept | None:
    """Run both files over held-out pictures and captions as the client prepares them; None where there are none.

    Args:
        source: the bundle.
        client: the layout's files, and how they are fed.
        data: recipe or picture folder; None takes the data that the student was distilled on.
    """
    held = _held_out(source.bundle, data)
    if held is None:
        return None
    config, pairs = held
    bundle = open_bundle(source.bundle, source.target, "int8")
    kept: list[int] = []
    own, theirs = [], []
    for row, _, picture in _pictures(pairs, config):
        kept.append(row)
        own.append(bundle.embed_pixels(to_pixels(picture, bundle.preprocess)[None].astype(np.float32) / 255)[0])
        theirs.append(client.image(client.resized(picture)))
    captions = [text for row in kept for text in pairs.captions[row]]
    caption_to_image = np.repeat(np.arange(len(kept)), [len(pairs.captions[row]) for row in kept])
    before, after = np.stack(own), np.stack(theirs)[:, : bundle.dim]
    recall, mean = None, None
    if captions:
        texts = _stacked(client.text(text) for text in track(captions, "captions"))[:, : bundle.dim]
        student = ranks(before, bundle.embed_texts(captions), caption_to_image)
        recall, mean = compare_ranks(ranks(after, texts, caption_to_image), student), student.mean_recall()
    return PicturesKept(
        pictures=len(kept),
        captions=len(captions),
        split=f"{pairs.name}, {SPLIT}",
        cosine=summary(cosines(after, before)),
        bundle_mean_recall=mean,
        recall=recall,
    )


def _held_out(bundle: Path, data: Path | None) -> tuple[DataConfig, Pairs] | None:
    if data is not None:
        config = data_config(data)
        return config, read_pairs(config, captions_needed=False)
    try:
        config = recorded_data(bundle)
        return config, read_pairs(config, captions_needed=False)
    except UserError as error:
        say(f"recall is not measured: {error}")
        return None


def _pictures(pairs: Pairs, config: DataConfig) -> Iterator[UsablePicture]:
    rows = pairs.rows(SPLIT)[:MOST_PICTURES].tolist()
    return usable_pictures(pairs, track(rows, "held-out pictures"), config.max_pixels, {}, config.max_bad)


def _stacked(rows: Iterator[np.ndarray]) -> np.ndarray:
    return np.stack(list(rows))
