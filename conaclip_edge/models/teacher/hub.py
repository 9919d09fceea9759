"""Fetching a teacher by its hub name: once, into the hub's cache, where later calls find it without the hub."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher.loading import one_line
from conaclip_edge.models.transformers_folder import FILES, OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, is_open_clip

HUB_TIMEOUT = 10.0  # seconds until the hub counts as out of reach


def fetch(name: str) -> Path:
    """Bring a hub model's files into the hub's cache, where later calls find them without the hub.

    Raises:
        UserError: no such model, or the hub is out of reach and the cache has not got it.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    offline: Exception | None = None
    wanted = list(FILES)
    try:
        siblings = HfApi().model_info(name, timeout=HUB_TIMEOUT).siblings or []
        if is_open_clip([file.rfilename for file in siblings]):
            wanted += [OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS[0]]
    except RepositoryNotFoundError:
        raise UserError(
            f"no teacher '{name}': it is no folder here, and the hub has no such model (or only for those who log in: "
            "hf auth login)."
        ) from None
    except Exception as error:  # the errors of the hub's HTTP library differ between its releases
        offline = error
    try:
        # Patterns match across '/', so that subfolders have to be left out by their own.
        return Path(
            snapshot_download(
                name,
                allow_patterns=wanted,
                ignore_patterns=["*/*"],
                etag_timeout=HUB_TIMEOUT,
                local_files_only=offline is not None,
            )
        )
    except Exception as error:  # as above
        raise UserError(
            f"cannot fetch teacher '{name}': {one_line(offline or error)}. Without the hub, use a local folder: run "
            f"'hf download {name} --local-dir teacher' where there is network, copy that folder here and name it."
        ) from error
