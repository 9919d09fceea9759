"""Keeping an index's cut-off current, from which on a hit says anything."""

from __future__ import annotations

from conaclip_edge.bundle.open import Bundle
from conaclip_edge.search.hits.cut_off import LEAST_PICTURES, NAMES, calibrated, outdated
from conaclip_edge.search.sqlite_store import Sidecar
from conaclip_edge.search.words.spelling import whole_words
from conaclip_edge.system.files import read_json


def calibrate(sidecar: Sidecar, bundle: Bundle) -> None:
    """Measure the cut-off if the index has grown or shrunk by a tenth since it was measured.

    Args:
        sidecar: of the index; the cut-off is recorded there.
        bundle: its text tower embeds random queries.
    """
    pictures = len(sidecar)
    if not outdated(sidecar.meta(), pictures):
        return
    if pictures < LEAST_PICTURES:
        sidecar.unset_meta(*NAMES)
        return
    words = whole_words(read_json(bundle.tokenizer.file, "tokenizer"))
    found = calibrated(
        words, bundle.embed_texts, lambda: (vectors for _, vectors in sidecar.chunks()), bundle.held_out_pairs
    )
    if found:
        sidecar.set_meta(**found.meta(pictures))
