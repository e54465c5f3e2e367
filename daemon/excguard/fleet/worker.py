"""What a worker of Dask runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import distributed

from excguard.fleet import shard as work

if TYPE_CHECKING:
    from excguard.fleet.plan import Shard


def scan_shard(source: str, output: str, shard: Shard) -> None:
    """`shard.scan_shard`, which leaves the worker to the next shard as soon as only writing is left."""
    work.scan_shard(source, output, shard, when_computed=distributed.secede)
