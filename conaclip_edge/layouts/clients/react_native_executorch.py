"""react-native-executorch: its classes ImageEmbeddings and TextEmbeddings, which open programs by their address.

Read in software-mansion/react-native-executorch 0.10 (81c22d5), packages/react-native-executorch/common/rnexecutorch:
`models/VisionModel.cpp` squashes with `cv::resize` (bilinear, four neighbours) where sizes differ, and
`data_processing/ImageProcessing.cpp` divides RGB by 255; `models/embeddings/text/TextEmbeddings.cpp` gives int64 ids
and a mask that is 1 where an id is not 0, both [1, length] without padding; `TokenizerModule.cpp` encodes with special
tokens by a C++ port of the tokenizers library (pytorch/tokenizers), which reads truncation of tokenizer.json too.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from conaclip_edge.data.preprocess import Preprocess
from conaclip_edge.layouts.client import Client
from conaclip_edge.layouts.pictures import squashed_plainly
from conaclip_edge.layouts.pte_text import with_long_ids
from conaclip_edge.layouts.source import Source
from conaclip_edge.models.tokenizer import whole_text
from conaclip_edge.runtime.executorch_tower import load_program


def write(source: Source, folder: Path) -> Client:
    """Write image.pte, text.pte and tokenizer.json."""
    shutil.copy(source.image, folder / "image.pte")
    (folder / "text.pte").write_bytes(with_long_ids(source.text))
    (folder / "tokenizer.json").write_text(source.tokenizer.content, "utf-8")
    return open_client(source, folder)


def open_client(source: Source, folder: Path) -> Client:
    """Open a written layout as react-native-executorch runs it.

    Args:
        source: the bundle that it was made of.
        folder: of the layout.
    """
    texts, pictures = (load_program(folder / f"{name}.pte") for name in ("text", "image"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    size = source.preprocess.size

    def ids(text: str) -> np.ndarray:
        return np.asarray(tokenizer.encode(whole_text(text)).ids, np.int64)

    def embedding(text: str) -> np.ndarray:
        given = ids(text)[None]
        row: np.ndarray = texts(given, (given != 0).astype(np.int64))[0]
        return row

    return Client(
        lambda picture: squashed_plainly(picture, size),
        lambda pixels: pictures(pixels[None].astype(np.float32) / 255)[0],
        ids,
        embedding,
        "squashed, bilinear without antialiasing",
        Preprocess(size, "squash", "bilinear"),
        (
            "Ids are those of the tokenizers library; the app has a port of it in C++, which was read and not run.",
            "Give the class ImageEmbeddings image.pte, and TextEmbeddings text.pte and tokenizer.json.",
        ),
    )
