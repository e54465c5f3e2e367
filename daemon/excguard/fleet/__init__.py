"""Crash reports by the million: Arrow batches in, Arrow batches out, on one machine or many.

`violations` is the one function; any engine that maps over Arrow batches can call it::

    >>> import pyarrow
    >>> from excguard.fleet import violations
    >>> batch = pyarrow.RecordBatch.from_pydict({"path": ["a.ips"], "bytes": [b"no report"]})
    >>> violations(batch).num_rows
    1
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from excguard.fleet.batch import SCHEMA, SCHEMA_VERSION, violations

__all__ = ["SCHEMA", "SCHEMA_VERSION", "violations"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name is bound to
    """Import the public names on first use: workers are started before pyarrow is imported."""
    if name not in __all__:
        raise AttributeError(f"module 'excguard.fleet' has no attribute {name!r}")
    from excguard.fleet import batch  # noqa: PLC0415 - see above

    return getattr(batch, name)
