"""Crash reports by the million: Arrow batches in, Arrow batches out, on one machine or many.

`violations` is the one function; any engine that maps over Arrow batches can call it::

    >>> import pyarrow
    >>> from excguard.fleet import violations
    >>> batch = pyarrow.RecordBatch.from_pydict({"path": ["a.ips"], "bytes": [b"no report"]})
    >>> violations(batch).num_rows
    1
"""

from excguard.fleet.batch import SCHEMA, SCHEMA_VERSION, violations

__all__ = ["SCHEMA", "SCHEMA_VERSION", "violations"]
