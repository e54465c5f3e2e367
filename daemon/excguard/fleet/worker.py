"""What a worker of Dask runs. The command that sends it there imports only this module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import distributed

if TYPE_CHECKING:
    from excguard.fleet.plan import Shard


def scan_shard(source: str, output: str, shard: Shard) -> None:
    """`shard.scan_shard`, which leaves the worker to the next shard as soon as only writing is left."""
    from excguard.fleet import shard as work  # noqa: PLC0415 - imports pyarrow

    work.scan_shard(source, output, shard, when_computed=distributed.secede)
