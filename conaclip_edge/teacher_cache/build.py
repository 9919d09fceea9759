"""The teacher cache of a recipe, built before the training: alone, or by several processes and machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.prefetch import default_workers
from conaclip_edge.errors import UserError
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.system.result import Result
from conaclip_edge.teacher_cache.merge import check_cache, expected_shards, merge_parts
from conaclip_edge.teacher_cache.share import Share, own_share, wait_for_all
from conaclip_edge.teacher_cache.store import cache_key, cache_tables, fill


class CacheReport(Result):
    """What is there of a teacher cache.

    Attributes:
        cache: its folder; of several teachers, the folder of all caches.
        shards: of the whole cache.
        there: of them, now.
        written: of them, by this call: embedded, or taken in from other machines.
    """

    cache: Path
    shards: int
    there: int
    written: int


def build_cache(config: DistillConfig, worker: str | None = None, merge: Sequence[Path] = ()) -> CacheReport:
    """Build the teacher cache of a recipe, or one worker's part of it, or put parts together.

    Args:
        config: the recipe.
        worker: "I/N": only the shards of worker I of N; None builds all that is missing, unless there is `merge`. The
            processes of an `accelerate launch` divide it among themselves.
        merge: caches that other machines built; nothing is embedded then.

    Raises:
        UserError: shards are missing after all workers, damaged, foreign, or there twice with different content.
    """
    if worker and merge:
        raise UserError("--worker builds a part, --merge puts parts together. Give one of the two.")
    if merge and config.teachers:
        raise UserError("--merge is for one teacher. Merge the caches of each: --set teachers=[] --set teacher=FOLDER.")
    pairs = read_pairs(config.data, captions_needed=False)
    share = own_share(worker)
    built = [
        _build(config, load_teacher(source).compute_on(share.device, config.teacher_precision), pairs, share, merge)
        for source in config.all_teachers
    ]
    if len(built) == 1:
        return built[0]
    return CacheReport(
        cache=config.cache,
        shards=sum(one.shards for one in built),
        there=sum(one.there for one in built),
        written=sum(one.written for one in built),
    )


def _build(config: DistillConfig, teacher: Teacher, pairs: Pairs, share: Share, merge: Sequence[Path]) -> CacheReport:
    """Build the cache of one teacher; arguments and errors as of `build_cache`."""
    part, parts = share.part, share.parts
    views, max_pixels = config.train.teacher_views, config.data.max_pixels
    home = config.cache / cache_key(pairs, teacher, views, max_pixels)
    workers = default_workers(parts) if config.train.workers is None else config.train.workers
    tables = cache_tables(pairs, teacher, views, max_pixels, workers)
    written = merge_parts(home, tables, teacher.embed_dim, merge) if merge else fill(home, tables, part, parts)
    wait_for_all()
    if share.together or parts == 1:
        check_cache(home, tables, teacher.embed_dim, "conaclip-edge cache with the same recipe")
    there = sum((home / name).exists() for name in expected_shards(tables))
    return CacheReport(cache=home, shards=len(expected_shards(tables)), there=there, written=written)


def cache_text(report: CacheReport) -> str:
    """Format for a terminal what is there."""
    left = report.shards - report.there
    state = "complete" if not left else f"{left} are other workers' or missing"
    return f"cache {report.cache}: {report.written} of {report.shards} shards are new, {state}"
