#!/usr/bin/env bash
# polars 2.1.0 reads 64-bit unsigned numbers from JSON as Int128, whose Parquet files other readers cannot use.
#
# EXC_GUARD codes of the guard types VN, VIRT_MEMORY and REJECTED_SC are 2**63 or more. With one of them in a column,
# polars.read_ndjson infers Int128, which holds the codes exactly; UInt64 would do. The Parquet file that polars writes
# of it cannot be opened by pyarrow 26.0.1, and DuckDB 2.0.1 reads the column as bytes. A cast to UInt64 before writing
# helps.
#
# Output seen:
#   polars     Int128 0x2000020000002703 0xc000000000000016
#   pyarrow    ArrowNotImplementedError: Integers with more than 64 bits not implemented
#   DuckDB     BLOB
#   after cast(UInt64): pyarrow uint64, DuckDB UBIGINT
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" -q install polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1
cd "$directory"
venv/bin/python - <<'PYTHON'
import json
from pathlib import Path

import duckdb
import polars
import pyarrow
import pyarrow.parquet

codes = [0x2000020000002703, 0xC000000000000016]  # MACH_PORT INVALID_NAME of port 0x2703; REJECTED_SC
Path("hits.jsonl").write_text("".join(json.dumps({"code": code}) + "\n" for code in codes))


def types():
    try:
        arrow = str(pyarrow.parquet.read_schema("hits.parquet").field("code").type)
    except pyarrow.ArrowNotImplementedError as error:
        arrow = f"{type(error).__name__}: {error}"
    return arrow, duckdb.sql("SELECT typeof(code) FROM 'hits.parquet'").fetchall()[0][0]


frame = polars.read_ndjson("hits.jsonl")
print("polars    ", frame["code"].dtype, *map(hex, frame["code"]))
assert frame["code"].dtype == polars.Int128
assert list(frame["code"]) == codes

frame.write_parquet("hits.parquet")
arrow, duck = types()
print("pyarrow   ", arrow)
print("DuckDB    ", duck)
assert (arrow, duck) == (
    "ArrowNotImplementedError: Integers with more than 64 bits not implemented",
    "BLOB",
)

frame.cast(polars.UInt64).write_parquet("hits.parquet")
arrow, duck = types()
print(f"after cast(UInt64): pyarrow {arrow}, DuckDB {duck}")
assert (arrow, duck) == ("uint64", "UBIGINT")
PYTHON
