"""Where shards are worked on: Dask distributed, embedded on this machine or on a cluster that exists.

docs/fleet.md has the measurements that chose it. A worker that dies is replaced and its shard given to
another one; a shard may so run twice, which changes nothing (shard.py).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from excguard.fleet.plan import Shard

_AHEAD: Final = 4  # shards a worker has before it asks for more: enough that it never waits for the driver
_FIRST: Final = 2  # shards that are listed while workers start: what fits into the time waited for them
_MAX_DEATHS: Final = 10  # of workers, before the shard that they had is given up
_ANSWER: Final = 30  # seconds for a scheduler to answer, and then for its first worker to come


_SETTINGS: Final = {
    "distributed.worker.multiprocessing-method": "forkserver",
    # Shards are small and may run twice: neither memory limits nor suspicion of a task end a scan.
    "distributed.scheduler.allowed-failures": _MAX_DEATHS,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.admin.log-format": "%(message)s",
    "logging.distributed": "critical",
    # Off: what only a dashboard shows, and what moves data, of which shards have none. To measure the loops
    # of scheduler, nannies and workers, 50 times a second each, takes a fifth of the command's time.
    "distributed.admin.tick.interval": "1h",
    "distributed.admin.system-monitor.interval": "1h",
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.client.scheduler-info-interval": "1h",
}


class EngineError(RuntimeError):
    """The cluster cannot be used, or gave up; the text says why."""


def begin_workers() -> None:
    """Start the process that workers are forked from: it imports what they need while the caller goes on.

    Its environment limits what glibc keeps of memory that was released: the threads that read a bucket would
    have up to eight arenas a processor, each of which keeps what it has once needed.
    """
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
    multiprocessing.set_forkserver_preload(["excguard.fleet.prefork"])
    # A terminal sends SIGINT to every process; the command alone takes it, and ends the workers: they inherit
    # that it is blocked. The resource tracker comes first: its start unblocks it (CPython 3.11 to 3.14).
    warnings = sys.warnoptions.copy()
    sys.warnoptions.append("ignore:resource_tracker")  # of a command that was killed: it removes what is left
    resource_tracker.ensure_running()
    sys.warnoptions[:] = warnings
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Import without garbage collection: what imports leave behind stays, and is not looked through again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


class Engine:
    """Workers for the length of a ``with`` block."""

    def __init__(self, *, cluster: str | None, jobs: int | None) -> None:
        """An engine at the scheduler at ``cluster`` ("tcp://host:8786"), or of ``jobs`` processes here.

        Raises:
            EngineError: Dask is missing.
        """
        self._cluster, self._jobs = cluster, jobs
        self._stack = contextlib.ExitStack()
        self._beside = ThreadPoolExecutor(1)
        self._starting: Future[None] | None = None
        if cluster is None:
            begin_workers()
        with _without_collection():
            try:
                self._dask: Any = importlib.import_module("dask")
                self._distributed: Any = importlib.import_module("distributed")
            except ImportError:
                raise EngineError("the engine needs Dask distributed (the extra excguard[fleet])") from None

    def __enter__(self) -> Self:
        """Connect to the cluster, or begin to start the processes; `workers` and `map` wait for them.

        Raises:
            EngineError: the cluster does not answer.
        """
        if self._cluster is None:
            self._starting = self._beside.submit(self._start)
        else:
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers that were started here."""
        self._beside.shutdown()
        self._stack.close()

    def _start(self) -> None:
        """Raises EngineError."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._dask.config.set(_SETTINGS))
            try:
                if self._cluster is None:
                    where = stack.enter_context(self._local_cluster())
                else:
                    where = self._cluster
                    _check(self._distributed, where)
                self._client: Any = stack.enter_context(
                    self._distributed.Client(where, timeout=_ANSWER, set_as_default=False)
                )
            except (OSError, RuntimeError, TypeError, ValueError) as error:  # TypeError: no certificates
                place = "this machine" if self._cluster is None else repr(self._cluster)
                raise EngineError(f"{place}: no cluster: {error}") from None
            self._stack = stack.pop_all()

    def _wait(self) -> None:
        """Return when the workers are there. Raises EngineError."""
        if self._starting is not None:
            self._starting.result()

    def _local_cluster(self) -> Any:  # noqa: ANN401 - of Dask
        return self._distributed.LocalCluster(
            n_workers=self._jobs or os.cpu_count() or 1,
            threads_per_worker=1,
            dashboard_address=None,
            # Without it the scheduler serves HTTP on port 8787 of every interface.
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            memory_limit=None,
            silence_logs=50,  # logging.CRITICAL
        )

    @property
    def workers(self) -> int:
        """How many there are now. Raises EngineError when they cannot be started."""
        self._wait()
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def map(self, source: str, output: str, shards: Iterable[Shard]) -> Iterator[Shard]:
        """`scan_shard` of each shard; they come back as they end. Shards are taken as workers get free.

        What a shard gave is in the output. It is not fetched from the worker, which may be dead by then.

        Raises:
            EngineError: workers cannot be started, a shard failed, or it ended more workers than can be an
                accident.
        """
        from excguard.fleet.store import StoreError  # noqa: PLC0415 - imported while workers start
        from excguard.fleet.worker import scan_shard  # noqa: PLC0415 - imports Dask

        following = iter(shards)
        waiting = chain(list(islice(following, _FIRST)), following)
        self._wait()
        running: dict[str, Shard] = {}
        pending = self._distributed.as_completed(loop=self._client.loop)

        def submit() -> None:
            for shard in islice(waiting, 1):
                future = self._client.submit(scan_shard, source, output, shard, pure=False)
                running[future.key] = shard
                pending.add(future)

        for _ in range(_AHEAD * self.workers):
            submit()
        if running:  # clusters that grow on demand begin to do so now
            try:
                self._client.wait_for_workers(1, timeout=_ANSWER)
            except TimeoutError:
                raise EngineError(f"the cluster has no workers after {_ANSWER} s: start some") from None
        while running:
            future = next(pending)
            if future.status == "error":
                error = future.exception()
                name = "" if isinstance(error, StoreError) else f"{type(error).__name__}: "
                raise EngineError(f"a shard failed: {name}{error}")
            if future.status == "cancelled":
                raise EngineError("the scheduler has given up the scan")
            yield running.pop(future.key)
            submit()


def _check(distributed: Any, address: str) -> None:  # noqa: ANN401 - a module
    """Connect once: a `Client` of an address that cannot work keeps the command for a minute at its end."""
    import asyncio  # noqa: PLC0415 - only for a cluster

    async def connect() -> None:
        arguments = distributed.Security().get_connection_args("client")
        connection = await distributed.comm.connect(address, timeout=_ANSWER, **arguments)
        await connection.close()

    asyncio.run(connect())
