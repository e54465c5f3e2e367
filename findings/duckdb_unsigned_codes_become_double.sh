#!/usr/bin/env bash
# DuckDB 2.0.1 turns 64-bit unsigned numbers from JSON into DOUBLE when it writes them to Parquet.
#
# EXC_GUARD codes of the guard types VN, VIRT_MEMORY and REJECTED_SC are 2**63 or more. With one of them in a column,
# read_json infers HUGEINT and shows every code exactly. COPY ... TO a Parquet file then makes the column DOUBLE,
# without an error or a warning: the low bits, which hold the target, are lost for every code in the column, also for
# those below 2**63. Parquet has an unsigned 64-bit type into which all of them fit; with columns = {code: 'UBIGINT'}
# given to read_json, DuckDB uses it.
#
# Output seen:
#   JSON                  0x2000020000002703 0xc000000000000016
#   DuckDB, HUGEINT       0x2000020000002703 0xc000000000000016
#   Parquet, double       0x2000020000002800 0xc000000000000000
#   Parquet, uint64       0x2000020000002703 0xc000000000000016    with the column's type given
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" -q install duckdb==2.0.1 pyarrow==26.0.1
cd "$directory"
venv/bin/python - <<'PYTHON'
import json
from pathlib import Path

import duckdb
import pyarrow.parquet

codes = [0x2000020000002703, 0xC000000000000016]  # MACH_PORT INVALID_NAME of port 0x2703; REJECTED_SC


def show(where, values):
    print(f"{where:20}", *map(hex, values))


def written(query):
    duckdb.sql(f"COPY ({query}) TO 'hits.parquet'")
    column = pyarrow.parquet.read_table("hits.parquet")["code"]
    show(f"Parquet, {column.type}", map(int, column.to_pylist()))
    return str(column.type), [int(value) for value in column.to_pylist()]


Path("hits.jsonl").write_text("".join(json.dumps({"code": code}) + "\n" for code in codes))
show("JSON", codes)

read = duckdb.sql("SELECT typeof(code), code FROM 'hits.jsonl'").fetchall()
show(f"DuckDB, {read[0][0]}", [code for _, code in read])
assert read == [("HUGEINT", code) for code in codes]

assert written("FROM 'hits.jsonl'") == ("double", [0x2000020000002800, 0xC000000000000000])
assert written("FROM read_json('hits.jsonl', columns = {code: 'UBIGINT'})") == ("uint64", codes)
PYTHON
