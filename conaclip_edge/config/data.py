"""The data section of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from conaclip_edge.config.base import Growing


class DataConfig(Growing):
    """Where the pictures and captions are."""

    later: ClassVar[frozenset[str]] = frozenset({"url", "local_copy"})

    # all formats, and the keys that each reads: the table in config/data_formats.py
    format: str | None = Field(
        None,
        description="how the pictures and captions are stored, e.g. imagefolder, parquet or webdataset; left out: "
        "found by what lies at the path",
    )
    path: Path | None = Field(None, description="folder or file of the data")
    url: str | None = Field(
        None,
        description="in place of path: shards elsewhere, of format webdataset or parquet, e.g. s3://bucket/folder, "
        "hf://datasets/owner/name, https://host/{00000..00099}.tar",
    )
    local_copy: bool = Field(
        False, description="keep the shards at url here; left off, webdataset's pictures are read by ranges"
    )
    images: Path | None = Field(None, description="picture folder, for formats that keep it apart (karpathy, coco)")
    split: Literal["family", "random"] = Field("family", description="openmoji only: keep near-twins together, or not")
    fold: int = Field(0, ge=0, description="openmoji only: which share is test; folds share no test picture")
    unnamed: bool = Field(
        True, description="openmoji only: also its pictures without a name, as unpaired train pictures"
    )
    val_fraction: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of train held out where the source has no val split; of few pictures it is more",
    )
    test_fraction: float = Field(0.1, ge=0, lt=1, description="the same for test")
    max_bad: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of broken pictures above which the run ends; one of ten or more is always allowed",
    )
    max_pixels: int = Field(64_000_000, gt=0, description="larger pictures are refused before decoding")
    picture_size: int = Field(224, gt=0, description="openmoji only: rendered size in pixels")
    labelled: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of train pictures whose captions the student may pair; 0: it learns from pictures and "
        "captions apart",
    )
