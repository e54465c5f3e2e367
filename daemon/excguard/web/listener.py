"""The socket that the endpoint listens on: a TCP port, or a Unix socket of its owner alone."""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from pathlib import Path
from typing import Any

_BACKLOG = 128
_OWNER_ONLY = 0o177  # umask of a Unix socket with mode 0600


class Listener:
    """A bound, non-blocking socket; connections are accepted from `listen` on."""

    def __init__(self, address: tuple[str, int] | Path) -> None:
        """Bind ``address``: host and port (0: any free port), or the path of a Unix socket.

        A Unix socket has the mode 0600. One that an earlier process left behind is replaced.

        Raises:
            OSError: the address is invalid or in use.
        """
        self._identity: tuple[int, int] | None = None
        self._path = address if isinstance(address, Path) else None
        if isinstance(address, Path):
            self.socket = _bind_unix(address)
            self._identity = _identity(address)
            self.address = f"unix:{address}"
        else:
            self.socket = _bind_tcp(*address)
            name, port = self.socket.getsockname()[:2]
            self.address = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
            """Where it listens: "127.0.0.1:12012", "[::1]:12012", "unix:/path"."""
            self._host = name

    @property
    def is_unix(self) -> bool:
        """Whether it is a Unix socket."""
        return self._path is not None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self.is_unix or ipaddress.ip_address(self._host.partition("%")[0]).is_loopback

    def listen(self) -> None:
        """Allow connections."""
        self.socket.listen(_BACKLOG)

    def close(self) -> None:
        """Stop listening, and remove a Unix socket unless another process has replaced it."""
        self.socket.close()
        if self._path is not None and self._identity == _identity(self._path):
            with contextlib.suppress(OSError):
                self._path.unlink()


def _bind_tcp(host: str, port: int) -> socket.socket:
    # Text is encoded by a codec that takes long to import; an address of digits does not need it.
    name = host if host.strip("0123456789.:") else host.encode()
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:  # from the encoding of host names: an empty or a too long label
        raise OSError(errno.EINVAL, "invalid host name") from error
    family, *_, address = found[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bind(listener, address)


def _bind_unix(path: Path) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(_OWNER_ONLY)  # a chmod after the bind could be led elsewhere by a symbolic link
    try:
        return _bind(listener, str(path))
    finally:
        os.umask(umask)


def _bind(listener: socket.socket, address: Any) -> socket.socket:  # noqa: ANN401 - depends on the family
    try:
        listener.bind(address)
        listener.setblocking(False)  # noqa: FBT003 - its only argument
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """Remove a socket on which no process listens. Raises OSError when there is something else."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "exists and is not a socket", str(path))
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - its only argument; it would wait where many others do
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(path))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
