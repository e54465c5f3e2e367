"""Where reports are and where results go: a local directory or a bucket, behind five operations.

Buckets are obstore's affair: S3, Google Cloud Storage, Azure and HTTP, each with its usual environment
variables and machine credentials, and with retries and back-off. Local files are read here, for the sake of
speed and of files that are not regular.

The readers of reports are imported with the first report: the command that hands out the work reads none.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from excguard.files import atomic, bounded
from excguard.files.errors import reason
from excguard.files.escaping import utf8

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MAX_OWN: Final = 1 << 30  # bytes of a plan, a manifest or a list of an inventory
_CONCURRENCY: Final = 64  # requests in flight of one worker
_LIST_PAGE: Final = 1000
_EXPECTED: Final = "expected a directory, s3://BUCKET/PREFIX, gs://, az://, or https://HOST/PATH"


class StoreError(RuntimeError):
    """A place cannot be used at all; the text names it and says why."""


class Key(msgspec.Struct, array_like=True, frozen=True, order=True, gc=False):
    """One file or object; written as a JSON array. There are ten thousand at a time.

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
        """See `Store.keys`. A directory that cannot be listed is a key, "a/": reading it gives the error."""
        return self._below(
            os.fspath(self._directory), "", tuple(after.split("/")) if after else (), times=times
        )

    def _below(self, directory: str, prefix: str, after: tuple[str, ...], *, times: bool) -> Iterator[Key]:
        try:
            with os.scandir(directory) as found:
                entries = sorted(found, key=_name)
        except OSError as error:
            if not prefix:
                raise StoreError(f"{self.url}: cannot be listed: {reason(error)}") from None
            if after != ("",):  # it is the last key that is planned
                yield Key(prefix)
            return
        last = after[0] if after else ""
        for entry in entries:
            name = _name(entry)
            if name < last:
                continue
            if entry.is_dir(follow_symlinks=False):
                below = after[1:] if name == last else ()
                yield from self._below(entry.path, f"{prefix}{name}/", below, times=times)
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
            if "\\x" in path and not os.path.lexists(path):
                path = _original(path)
            try:
                content: bytes | memoryview | None = prefilter.read(path, buffer)
                if content is not None and len(content) == prefilter.BUFFER:
                    content = bounded.read(Path(path), MAX_BYTES)
            except (OSError, ValueError) as error:  # ValueError: a list can give a path with a NUL
                failed += 1
                yield Content(key, None, _problem(error, MAX_BYTES))
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


def _problem(error: OSError | ValueError, limit: int) -> str:
    if isinstance(error, bounded.FileTooLargeError):
        return _too_large(limit)
    if isinstance(error, bounded.NotARegularFileError):
        return reason(error)
    return f"cannot be read: {reason(error) if isinstance(error, OSError) else error}"


def _name(entry: os.DirEntry[str]) -> str:
    return utf8(entry.name)


def _original(path: str) -> str:
    """The path with the names that `utf8` was given."""
    raw = re.sub(rb"\\x([89a-f][0-9a-f])", lambda found: bytes.fromhex(found[1].decode()), path.encode())
    return os.fsdecode(raw)


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
        self.url = url.rstrip("/")
        self._obstore: Any = obstore
        open_url: Any = from_url  # its type wants a dictionary of a private kind
        plain = any(place.startswith("http://") for place in (url, os.environ.get("AWS_ENDPOINT_URL", "")))
        # obstore raises Python's own errors where they fit, such as FileNotFoundError.
        self._errors = (obstore.exceptions.BaseError, OSError, ValueError)
        try:
            self._store: Any = open_url(
                url, client_options={"allow_http": True} if plain else None, **_profile(url)
            )
        except self._errors as error:
            raise StoreError(f"{url}: {_short(error)}: {_EXPECTED}") from None

    def keys(self, after: str = "", *, times: bool = False) -> Iterator[Key]:
        """See `Store.keys`; a bucket gives the times in any case."""
        del times
        try:
            for page in self._obstore.list(self._store, offset=after or None, chunk_size=_LIST_PAGE):
                for found in page:
                    yield Key(
                        found["path"], found["size"], found["last_modified"].timestamp(), found["e_tag"] or ""
                    )
        except self._errors as error:
            web = self.url.startswith("http") and type(self._store).__name__ == "HTTPStore"
            fix = ": the paths of a web server have to come from --stdin" if web else ""
            raise StoreError(f"{self.url}: cannot list: {_short(error)}{fix}") from None

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
        except self._errors as error:
            return Content(key, None, _short(error))
        return None if content is None else Content(key, content)

    def _whole(self, key: Key) -> bytes | None:
        from excguard.crash_reports import MAX_BYTES, ips, prefilter  # noqa: PLC0415 - see the top

        if key.size > MAX_BYTES:
            raise ValueError(_too_large(MAX_BYTES))
        if key.size == 0:
            return b""  # a range of nothing is refused by every store
        try:
            found = self._obstore.get(self._store, key.path, options={"range": (0, prefilter.HEAD)})
        except self._obstore.exceptions.NotSupportedError:  # a web server without ranges
            found = self._obstore.get(self._store, key.path)
            if found.meta["size"] > MAX_BYTES:
                raise ValueError(_too_large(MAX_BYTES)) from None
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
        except self._errors as error:
            raise StoreError(f"{self.url}/{path}: {_short(error)}") from None

    def put(self, path: str, content: bytes, *, sync: bool = True) -> None:
        """See `Store.put`."""
        del sync
        try:
            self._obstore.put(self._store, path, content)
        except self._errors as error:
            raise StoreError(f"{self.url}/{path}: cannot write: {_short(error)}") from None

    def has(self, path: str, size: int) -> bool:
        """See `Store.has`. What a bucket has taken is there."""
        del path, size
        return True


def _too_large(limit: int) -> str:
    return f"larger than {limit >> 20} MiB: not a crash report"


def _profile(url: str) -> dict[str, Any]:
    """Credentials of an AWS profile, such as one of single sign-on, as an argument for obstore.

    obstore itself reads the environment and what the machine has; profiles are read by boto3.
    """
    if not url.startswith(("s3://", "s3a://")) or "AWS_ACCESS_KEY_ID" in os.environ or not _has_profile():
        return {}
    try:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - optional
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415 - likewise
    except ImportError:
        return {}
    try:
        return {"credential_provider": Boto3CredentialProvider()}
    except ValueError:  # the profile has none
        return {}
    except BotoCoreError as error:
        raise StoreError(f"{url}: {error}") from None


def _has_profile() -> bool:
    files = (
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    return "AWS_PROFILE" in os.environ or any(Path(file).expanduser().is_file() for file in files)


# Where obstore asks the machine for credentials: EC2, Google Cloud, Azure.
_MACHINE = ("/latest/api/token", "/computeMetadata/", "/metadata/identity/")


def _short(error: BaseException) -> str:
    """An error of obstore in one line, without the server's page and obstore's own source."""
    text = str(error) or type(error).__name__
    first = re.split(r":? *<[?!A-Za-z]", text.splitlines()[0])[0][:300]
    if said := re.search(r"<Code>([^<]+)</Code>\s*<Message>([^<]+)</Message>", text):
        first += f": {said[1]}: {said[2]}"[:300]
    if any(path in first for path in _MACHINE):
        first += ": no credentials in the environment, and none of this machine"
        if _has_profile() and find_spec("boto3") is None:
            first += "; those of AWS profiles need the package boto3"
    return first
