"""Where reports are and where results go: a local directory or a bucket, behind five operations.

Buckets are obstore's affair: S3, Google Cloud Storage, Azure and HTTP, each with its usual environment
variables and machine credentials, and with retries and back-off. Local files are read here, for the sake of
speed and of files that are not regular.
"""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from excguard.files import atomic
from excguard.files.errors import reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD: Final = 32 * 1024
"""Bytes read first: enough to recognize a crash of another kind, which most reports are."""

MAX_BYTES: Final = 64 << 20
"""Of one report; a larger object is not one."""

_TOO_LARGE: Final = f"larger than {MAX_BYTES >> 20} MiB"
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
    """What reading one key gave: bytes, or the error in one line."""

    key: Key
    content: bytes | None
    error: str = ""


class Store(Protocol):
    """A directory or a prefix of a bucket."""

    url: str

    def keys(self, after: str = "", *, times: bool = False) -> Iterator[Key]:
        """Every key behind ``after``, in a fixed order; no more than a directory or page is in memory.

        ``times``: whether `Key.modified` is needed, which costs a system call a file.
        """

    def read(self, keys: Sequence[Key], *, enough: Any) -> Iterator[Content]:  # noqa: ANN401 - bytes -> bool
        """Contents, in any order; not of keys whose first `HEAD` bytes are ``enough``."""

    def get(self, path: str) -> bytes | None:
        """One small file of ours; None when there is none."""

    def put(self, path: str, content: bytes) -> None:
        """Replace a file in one step: readers see the old one or the new one."""

    def delete(self, path: str) -> None:
        """Remove a file; one that is gone already is no error."""


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
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            yield Key(prefix.rstrip("/"))
            return
        for entry in entries:
            if after and entry.name < after[0]:
                continue
            below = after[1:] if after and entry.name == after[0] else ()
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(f"{prefix}{entry.name}/", below, times=times)
            elif not (after and entry.name == after[0]):
                yield Key(f"{prefix}{entry.name}", modified=_modified(entry) if times else 0.0)

    def read(self, keys: Sequence[Key], *, enough: Any) -> Iterator[Content]:  # noqa: ANN401 - as in Store
        """See `Store.read`."""
        directory = os.fspath(self._directory)
        head = memoryview(bytearray(HEAD))  # one for all files: new memory would cost more than the reading
        for key in keys:
            try:
                content = _read_file(f"{directory}/{key.path}", head, enough)
            except OSError as error:
                yield Content(key, None, reason(error))
            else:
                if content is not None:
                    yield Content(key, content)

    def get(self, path: str) -> bytes | None:
        """See `Store.get`."""
        try:
            return (self._directory / path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._directory / path}: {reason(error)}") from None

    def put(self, path: str, content: bytes) -> None:
        """See `Store.put`."""
        target = self._directory / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(target, content, mode=0o644)
        except OSError as error:
            raise StoreError(f"{target}: {reason(error)}") from None

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
        (self._directory / path).unlink(missing_ok=True)


def _modified(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except OSError:  # removed since: reading it gives the error
        return 0.0


def _read_file(path: str, head: memoryview, enough: Any) -> bytes | None:  # noqa: ANN401 - as in Store
    """The contents; None where the head, which is read into ``head``, is enough."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would wait for its writer
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        if status.st_size > MAX_BYTES:
            raise OSError(0, _TOO_LARGE)
        size = os.readv(descriptor, [head])
        if enough(head[:size]):
            return None
        parts = [bytes(head[:size])]
        while size <= MAX_BYTES and (part := os.read(descriptor, 1 << 20)):
            parts.append(part)
            size += len(part)
        if size > MAX_BYTES:
            raise OSError(0, _TOO_LARGE)
        return b"".join(parts)
    finally:
        os.close(descriptor)


class BucketStore:
    """A prefix of a bucket, or a web server."""

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

    def read(self, keys: Sequence[Key], *, enough: Any) -> Iterator[Content]:  # noqa: ANN401 - as in Store
        """See `Store.read`."""
        yield from asyncio.run(self._read(keys, enough))

    async def _read(self, keys: Sequence[Key], enough: Any) -> list[Content]:  # noqa: ANN401 - as in Store
        requests = asyncio.Semaphore(_CONCURRENCY)

        async def one(key: Key) -> Content | None:
            async with requests:
                try:
                    content = await self._whole(key, enough)
                except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
                    return Content(key, None, _short(error))
                return None if content is None else Content(key, content)

        found = [content for content in await asyncio.gather(*map(one, keys)) if content is not None]
        if found and len(found) == len(keys) and all(content.content is None for content in found):
            # The bucket rather than single keys: to be tried again, not recorded as unreadable files.
            raise StoreError(f"{self.url}: nothing of {len(keys)} keys can be read: {found[0].error}")
        return found

    async def _whole(self, key: Key, enough: Any) -> bytes | None:  # noqa: ANN401 - as in Store
        if key.size > MAX_BYTES:
            raise ValueError(_TOO_LARGE)
        if key.size == 0:
            return b""  # a range of nothing is refused by every store
        found = await self._obstore.get_async(self._store, key.path, options={"range": (0, HEAD)})
        head = bytes(await found.bytes_async())
        size = found.meta["size"]
        if enough(head):
            return None
        if size <= len(head):
            return head
        if size > MAX_BYTES:
            raise ValueError(_TOO_LARGE)
        rest = await self._obstore.get_range_async(self._store, key.path, start=len(head), end=size)
        return head + bytes(rest)

    def get(self, path: str) -> bytes | None:
        """See `Store.get`."""
        try:
            return bytes(self._obstore.get(self._store, path).bytes())
        except (self._obstore.exceptions.NotFoundError, FileNotFoundError):
            return None
        except self._obstore.exceptions.BaseError as error:
            raise StoreError(f"{self.url}/{path}: {_short(error)}") from None

    def put(self, path: str, content: bytes) -> None:
        """See `Store.put`."""
        try:
            self._obstore.put(self._store, path, content)
        except self._obstore.exceptions.BaseError as error:
            raise StoreError(f"{self.url}/{path}: cannot write: {_short(error)}") from None

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
        try:
            self._obstore.delete(self._store, path)
        except (self._obstore.exceptions.NotFoundError, FileNotFoundError):
            return
        except self._obstore.exceptions.BaseError as error:
            raise StoreError(f"{self.url}/{path}: cannot remove: {_short(error)}") from None


def _short(error: BaseException) -> str:
    """The first line of an error of obstore, whose text goes on with its own source."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
