"""The journal of the C core, by its own functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from excguard.native import ffi, lib
from tests.support.samples import INVALID_NAME

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = 260400


class RefusedError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Journal:
    def __init__(self, path: Path, capacity: int = 8, release: int = RELEASE) -> None:
        handle, error = ffi.new("struct excguard_journal **"), ffi.new("char[300]")
        status = lib.excguard_journal_open(bytes(path), capacity, release, handle, error, len(error))
        if status != lib.EXCGUARD_JOURNAL_OK:
            assert handle[0] == ffi.NULL
            raise RefusedError(status, ffi.string(error).decode())
        self.handle = handle[0]

    def close(self) -> None:
        lib.excguard_journal_close(self.handle)
        self.handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, code: int = INVALID_NAME, target: int = 1, **fields: int) -> bool:
        hit = ffi.new(
            "struct excguard_hit *", {"code": code, "target_id": target, "reply": 5, "behavior": 4, **fields}
        )
        return bool(lib.excguard_journal_append(self.handle, hit))

    def peek(self, most: int = 1 << 30) -> list[Any]:
        pointer = ffi.new("struct excguard_record **")
        count = lib.excguard_journal_peek(self.handle, pointer, most)
        return [pointer[0][index] for index in range(count)]

    def drain(self) -> list[int]:
        seqs: list[int] = []
        while records := self.peek():
            seqs += [record.seq for record in records]
            self.advance(len(records))
        return seqs

    def advance(self, count: int) -> None:
        lib.excguard_journal_advance(self.handle, count)

    @property
    def pending(self) -> int:
        return int(lib.excguard_journal_pending(self.handle))

    @property
    def lost(self) -> int:
        return int(lib.excguard_journal_lost(self.handle))

    @property
    def recovered_until(self) -> int:
        return int(lib.excguard_journal_recovered_until(self.handle))

    def hits(self) -> dict[tuple[int, int, int], tuple[int, int]]:
        out = ffi.new("struct excguard_hit_counter[]", lib.EXCGUARD_HIT_SLOTS)
        count = lib.excguard_journal_hits(self.handle, out, lib.EXCGUARD_HIT_SLOTS)
        return {(one.target_id, one.guard_type, one.flavor): (one.recorded, one.lost) for one in out[0:count]}
