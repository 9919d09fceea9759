"""Reading a data set of any format."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.data_formats import FORMATS, check_source
from conaclip_edge.config.infer_format import with_format
from conaclip_edge.data.formats.source_files import reading
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.usable import allowed_bad
from conaclip_edge.errors import UserError
from conaclip_edge.system.progress import say


def read_pairs(config: DataConfig, captions_needed: bool = True) -> Pairs:
    """Read the captioned pictures that a data section names; pictures without captions are kept.

    Args:
        config: the data section; without a format, it is found by what lies at the path.
        captions_needed: False also accepts data of which no picture has a caption.

    Raises:
        UserError: an unknown format, nothing at the path, a key that the format does not read, another shape than the
            format's, no picture, no caption, or a larger share of pictures skipped than `max_bad`.
    """
    config = known_format(config)
    check_source(config)
    kind = FORMATS[str(config.format)]
    read: Callable[[DataConfig], Pairs] = import_module(kind.module).read
    source = config.url or config.path or str(config.format)
    with reading(source):
        pairs = read(config)
    expected = f"Format '{config.format}' is {kind.what}."
    first = f" First of {len(pairs.skipped)} skipped: {pairs.skipped[0]}." if pairs.skipped else ""
    if len(pairs) == 0:
        raise UserError(f"no picture in {source}.{first} {expected}")
    total = len(pairs) + len(pairs.skipped)
    if len(pairs.skipped) > allowed_bad(total, config.max_bad):
        raise UserError(
            f"{len(pairs.skipped) / total:.1%} of the pictures in {source} cannot be used, more than data.max_bad = "
            f"{config.max_bad:.1%}.{first} Repair them, or raise data.max_bad."
        )
    if captions_needed and not any(pairs.captions):
        raise UserError(f"none of the {len(pairs)} pictures in {source} has a caption.{first} {expected}")
    return pairs


def known_format(config: DataConfig) -> DataConfig:
    """Return a data section whose format is known: the one that is set, or that of what lies at its path or URL."""
    if config.url is None or config.format is not None:
        return with_format(config)
    from conaclip_edge.data.formats.remote_files import remote_format

    kind = remote_format(config.url)
    say(f"data: {config.url} is read as format {kind}.")
    return with_format(config.model_copy(update={"format": kind}))
