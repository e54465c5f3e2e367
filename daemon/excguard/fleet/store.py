"""Where reports are and where results go: a local directory or a bucket, behind five operations.

Buckets are obstore's affair: S3, Google Cloud Storage, Azure and HTTP, each with its usual environment
variables and machine credentials, and with retries and back-off. Local files are read here, for the sake of
speed and of files that are not regular.

The readers of reports are imported with the first report: the command that hands out the work reads none.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from operator import attrgetter
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from excguard.files import atomic, bounded
from excguard.files.errors import reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MAX_OWN: Final = 1 << 30  # bytes of a plan, a manifest or a list of an inventory
_CONCURRENCY: Final = 64  # requests in flight of one worker
_LIST_PAGE: Final = 1000


class StoreError(RuntimeError):
    """A place cannot be used at all; the text names it and says why."""


class Key(NamedTuple):
    """One file or object.

    Attributes:
        path: relative to its store.
        size: bytes; -1 when not known.
        modified: seconds since the epoch; 0 when not known.
        etag: of an object; "" for files and when not known.
    """

    path: str
    size: int = -1
    modified: float = 0.0
    etag: str = ""


class Content(NamedTuple):
    """What reading one key gave: bytes, or the error in one line.

    The bytes are valid until the next key is read.
    """

    key: Key
    content: bytes | memoryview | None
    error: str = ""


class Store(Protocol):
    """A directory or a prefix of a bucket.

    Attributes:
        url: where it is.
        remote: whether each operation is a request to a server.
    """

    url: str
    remote: bool

    def keys(self, after: str = "", *, times: bool = False) -> Iterator[Key]:
        """Every key behind ``after``, in a fixed order; no more than a directory or page is in memory.

        ``times``: whether `Key.modified` is needed, which costs a system call a file.
        """

    def read(self, keys: Sequence[Key]) -> Iterator[Content]:
        """Contents, in any order; not of keys whose first bytes show a crash of another kind.

        Raises:
            StoreError: nothing can be read: the store has failed, not its files.
        """

    def get(self, path: str) -> bytes | None:
        """One small file of ours; None when there is none."""

    def put(self, path: str, content: bytes, *, sync: bool = True) -> None:
        """Replace a file in one step: readers see the old one or the new one.

        Without ``sync`` a loss of power can undo it, which `has` shows.
        """

    def has(self, path: str, size: int) -> bool:
        """Whether a file that was put is there, with all its bytes."""


def open_store(url: str) -> Store:
    """The store of a path or URL: ``/reports``, ``s3://bucket/prefix``, ``gs://``, ``az://``, ``https://``.

    Raises:
        StoreError: the URL is of no kind that is known, or obstore is missing.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return LocalStore(Path(url))
    if scheme == "file":
        return LocalStore(Path(rest))
    return BucketStore(url)


class LocalStore:
    """A directory."""

    remote = False

    def __init__(self, directory: Path) -> None:
        """Use ``directory``, which need not exist yet."""
        self.url = str(directory)
        self._directory = directory

    def keys(self, after: str = "", *, times: bool = False) -> Iterator[Key]:
        """See `Store.keys`. A directory that cannot be listed is a key too: reading it gives the error."""
        return self._below("", tuple(after.split("/")) if after else (), times=times)

    def _below(self, prefix: str, after: tuple[str, ...], *, times: bool) -> Iterator[Key]:
        try:
            with os.scandir(self._directory / prefix) as found:
                entries = sorted(found, key=attrgetter("name"))
        except OSError:
            yield Key(prefix.rstrip("/"))
            return
        last = after[0] if after else ""
        for entry in entries:
            name = entry.name
            if name < last:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(f"{prefix}{name}/", after[1:] if name == last else (), times=times)
            elif name != last:
                yield Key(prefix + name, -1, _modified(entry)) if times else Key(prefix + name)

    def read(self, keys: Sequence[Key]) -> Iterator[Content]:
        """See `Store.read`."""
        from excguard.crash_reports import MAX_BYTES, prefilter  # noqa: PLC0415 - see the top

        directory = os.fspath(self._directory)
        buffer = memoryview(bytearray(prefilter.BUFFER))
        failed = 0
        for key in keys:
            path = f"{directory}/{key.path}"
            try:
                content: bytes | memoryview | None = prefilter.read(path, buffer)
                if content is not None and len(content) == prefilter.BUFFER:
                    content = bounded.read(Path(path), MAX_BYTES)
            except bounded.FileTooLargeError:
                yield Content(key, None, _too_large(MAX_BYTES))
            except bounded.NotARegularFileError as error:
                yield Content(key, None, reason(error))
            except OSError as error:
                failed += 1
                yield Content(key, None, f"cannot be read: {reason(error)}")
            else:
                if content is not None:
                    yield Content(key, content)
        if failed == len(keys) and not self._directory.is_dir():  # such as a volume that is no longer mounted
            raise StoreError(f"{directory}: not a directory")

    def get(self, path: str) -> bytes | None:
        """See `Store.get`."""
        try:
            return bounded.read(self._directory / path, _MAX_OWN)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._directory / path}: {reason(error)}") from None

    def put(self, path: str, content: bytes, *, sync: bool = True) -> None:
        """See `Store.put`."""
        target = self._directory / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(target, content, mode=0o644, sync=sync)
        except OSError as error:
            raise StoreError(f"{target}: {reason(error)}") from None

    def has(self, path: str, size: int) -> bool:
        """See `Store.has`."""
        try:
            return (self._directory / path).stat().st_size == size
        except OSError:
            return False


def _modified(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except OSError:  # removed since: reading it gives the error
        return 0.0


class BucketStore:
    """A prefix of a bucket, or a web server."""

    remote = True

    def __init__(self, url: str) -> None:
        """Open ``url`` with the credentials of the environment.

        Raises:
            StoreError: see `open_store`.
        """
        try:
            import obstore  # noqa: PLC0415 - an extra
            from obstore.store import from_url  # noqa: PLC0415 - likewise
        except ImportError:
            raise StoreError(f"{url}: buckets need the package obstore (the extra excguard[fleet])") from None
        self.url = url
        self._obstore: Any = obstore
        open_url: Any = from_url  # its type wants a dictionary of a private kind
        options = (
            {"allow_http": True} if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://") else None
        )
        try:
            self._store: Any = open_url(url, client_options=options)
        except (ValueError, obstore.exceptions.BaseError) as error:
            raise StoreError(f"{url}: {_short(error)}") from None

    def keys(self, after: str = "", *, times: bool = False) -> Iterator[Key]:
        """See `Store.keys`; a bucket gives the times in any case."""
        del times
        try:
            for page in self._obstore.list(self._store, offset=after or None, chunk_size=_LIST_PAGE):
                for found in page:
                    yield Key(
                        found["path"], found["size"], found["last_modified"].timestamp(), found["e_tag"] or ""
                    )
        except (self._obstore.exceptions.BaseError, ValueError) as error:
            raise StoreError(f"{self.url}: cannot list: {_short(error)}") from None

    def read(self, keys: Sequence[Key]) -> Iterator[Content]:
        """See `Store.read`. At most `_CONCURRENCY` objects are in memory.

        Threads wait for them. obstore's coroutines would end in threads of its runtime, one for each that
        waits for Python's lock, up to 512 for ten seconds each.
        """
        waiting = iter(keys)
        finished: SimpleQueue[Future[Content | None]] = SimpleQueue()
        found, error = False, ""
        with ThreadPoolExecutor(_CONCURRENCY) as pool:

            def request(count: int) -> int:
                """Submit so many of the keys, if there are as many left; how many there were."""
                keys = list(islice(waiting, count))
                for key in keys:
                    pool.submit(self._content, key).add_done_callback(finished.put)
                return len(keys)

            running = request(_CONCURRENCY)
            while running:
                content = finished.get().result()
                running += request(1) - 1
                if content is None or content.content is not None:
                    found = True
                else:
                    error = content.error
                if content is not None:
                    yield content
        if error and not found:
            raise StoreError(f"{self.url}: nothing of {len(keys)} keys can be read: {error}")

    def _content(self, key: Key) -> Content | None:
        try:
            content = self._whole(key)
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
            return Content(key, None, _short(error))
        return None if content is None else Content(key, content)

    def _whole(self, key: Key) -> bytes | None:
        from excguard.crash_reports import MAX_BYTES, ips, prefilter  # noqa: PLC0415 - see the top

        if key.size > MAX_BYTES:
            raise ValueError(_too_large(MAX_BYTES))
        if key.size == 0:
            return b""  # a range of nothing is refused by every store
        found = self._obstore.get(self._store, key.path, options={"range": (0, prefilter.HEAD)})
        head = bytes(found.bytes())
        size = found.meta["size"]
        if ips.other_crash(head):
            return None
        if size <= len(head):
            return head
        if size > MAX_BYTES:
            raise ValueError(_too_large(MAX_BYTES))
        rest = self._obstore.get_range(self._store, key.path, start=len(head), end=size)
        return head + bytes(rest)

    def get(self, path: str) -> bytes | None:
        """See `Store.get`."""
        try:
            return bytes(self._obstore.get(self._store, path).bytes())
        except (self._obstore.exceptions.NotFoundError, FileNotFoundError):
            return None
        except self._obstore.exceptions.BaseError as error:
            raise StoreError(f"{self.url}/{path}: {_short(error)}") from None

    def put(self, path: str, content: bytes, *, sync: bool = True) -> None:
        """See `Store.put`."""
        del sync
        try:
            self._obstore.put(self._store, path, content)
        except self._obstore.exceptions.BaseError as error:
            raise StoreError(f"{self.url}/{path}: cannot write: {_short(error)}") from None

    def has(self, path: str, size: int) -> bool:
        """See `Store.has`. What a bucket has taken is there."""
        del path, size
        return True


def _too_large(limit: int) -> str:
    return f"larger than {limit >> 20} MiB: not a crash report"


def _short(error: BaseException) -> str:
    """The first line of an error of obstore, whose text goes on with its own source."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
