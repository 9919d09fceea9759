"""The index of a folder of pictures with the bundle that embeds them: what `conaclip_edge.open_index` gives."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path

from conaclip_edge.data.preprocess import BadPicture
from conaclip_edge.errors import UserError
from conaclip_edge.search.commands import index_pictures
from conaclip_edge.search.folder.picture_folder import picture_bytes
from conaclip_edge.search.index import Hit
from conaclip_edge.search.query import Searcher, open_searcher, parse_query
from conaclip_edge.search.report import IndexReport
from conaclip_edge.system.arguments import expected_errors, to_count, to_path


class FolderIndex:
    """An index that pictures are added to and searched in; its files are opened by the first search.

    Args:
        folder: of the index; it need not exist yet.
        bundle: None takes the bundle that the index was made by.
    """

    def __init__(self, folder: Path, bundle: Path | None = None):
        self.folder, self.bundle = folder, bundle
        self._opened: Searcher | None = None

    def __len__(self) -> int:
        """Return how many pictures are indexed."""
        return len(self._searcher().index)

    @expected_errors()
    def add(self, pictures: str | PathLike[str]) -> IndexReport:
        """Index a folder of pictures; of one that is indexed, encode what is new or changed and drop what is gone.

        Args:
            pictures: the folder, with the folders in it. An index is of one folder.

        Raises:
            UserError: no picture, another writer, another folder than before, or a bundle of another embedding space.

        Example:
            >>> from conaclip_edge import open_index
            >>> index = open_index("runs/mine", bundle="bundle")
            >>> index.add("pictures").encoded, index.add("pictures").encoded, len(index)
            (352, 0, 352)
        """
        return index_pictures(self.bundle or self._searcher().index.bundle, to_path(pictures, "pictures"), self.folder)

    @expected_errors()
    def search(self, text: str = "", k: int = 10, picture: str | PathLike[str] | bytes | None = None) -> list[Hit]:
        """Search by words, by a picture, or by both.

        Args:
            text: words; `-word` or `-"two words"` stays away from them. They are taken as they are spelt.
            k: how many pictures.
            picture: file or encoded bytes of a picture to look for alike ones of.

        Returns:
            Pictures with `path`, `score` (cosine) and `key`, best first. What a person should know of them is warned
            of: that the model reads nothing of the words, or that nothing is like them.

        Raises:
            UserError: nothing to look for, a picture that cannot be read, or no or a damaged index or bundle.

        Example:
            >>> from conaclip_edge import open_index
            >>> index = open_index("index")
            >>> index.search(picture="pictures/test-0.png", k=2)[0].path.name
            'test-0.png'
            >>> len(index.search("w4 w5 -w6"))
            10
        """
        if not isinstance(text, str):
            raise UserError(f"text has to be a text, not {type(text).__name__}.")
        k = to_count(k, "k")
        try:
            data = (
                picture if picture is None or isinstance(picture, bytes) else picture_bytes(to_path(picture, "picture"))
            )
        except OSError as error:
            raise UserError(f"cannot read picture {picture!s}: {error.strerror}.") from error
        except BadPicture as error:
            raise UserError(f"picture {picture!s} {error}.") from error
        searcher, query = self._searcher(), parse_query(text, data)
        found = searcher.search(query, k)
        for note in found.notes:
            warnings.warn(note, stacklevel=2)
        # the nearest pictures come back even where the model reads nothing of the words, but not without the warning
        return found.hits or searcher.index.search(searcher.encode(query)[0], k)

    def close(self) -> None:
        """Close the index's files; the next search opens them again."""
        if self._opened:
            self._opened.index.close()
        self._opened = None

    def _searcher(self) -> Searcher:
        if self._opened is None:
            self._opened = open_searcher(self.folder, self.bundle)
        return self._opened
