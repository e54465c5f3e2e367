#!/usr/bin/env bash
# DataFusion 55.0.0 and ClickHouse 26.9 read null partition keys as text, so that IS NULL finds none of them.
#
# Hive, Spark and Arrow write rows whose partition key is null to KEY=__HIVE_DEFAULT_PARTITION__, and pyarrow 26.0.1 and
# DuckDB 2.0.1 read null back. DataFusion and ClickHouse (in chDB 4.4.0) read Hive partitions too, but not this name:
# the key of such a row is the text __HIVE_DEFAULT_PARTITION__. The condition day IS NULL, which the other two answer with
# the row, gives an empty result without an error. Where DataFusion has been given the type DATE for the key, reading it
# is an error.
#
# Output seen:
#   row of the null day         pyarrow 1    DuckDB 1    DataFusion none    ClickHouse none
#   its day in DataFusion       __HIVE_DEFAULT_PARTITION__
#   its day in ClickHouse       __HIVE_DEFAULT_PARTITION__
#   DataFusion, day is a DATE   Cannot cast string '__HIVE_DEFAULT_PARTITION__' to value of Date32 type
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" -q install pyarrow==26.0.1 duckdb==2.0.1 datafusion==55.0.0 chdb==4.4.0 chdb-core==26.9.0
cd "$directory"
venv/bin/python - <<'PYTHON'
import json

import chdb
import datafusion
import duckdb
import pyarrow
import pyarrow.dataset

HIVE = "__HIVE_DEFAULT_PARTITION__"
TABLE = "CREATE EXTERNAL TABLE {} {} STORED AS PARQUET PARTITIONED BY (day) LOCATION 'days/'"

pyarrow.dataset.write_dataset(
    pyarrow.table({"day": ["2026-03-01", None], "number": [0, 1]}),
    "days",
    format="parquet",
    partitioning=["day"],
    partitioning_flavor="hive",
)
files = "'days/*/*.parquet'"
context = datafusion.SessionContext()
context.sql(TABLE.format("found", ""))


def by_datafusion(query):
    return [tuple(row.values()) for row in context.sql(query).to_arrow_table().to_pylist()]


def by_clickhouse(query):
    return [tuple(json.loads(line)) for line in str(chdb.query(query, "JSONCompactEachRow")).splitlines()]


whole = pyarrow.dataset.dataset("days", partitioning="hive")
is_null = pyarrow.dataset.field("day").is_null()
found = {
    "pyarrow": [(number,) for number in whole.to_table(filter=is_null)["number"].to_pylist()],
    "DuckDB": duckdb.sql(f"SELECT number FROM {files} WHERE day IS NULL").fetchall(),
    "DataFusion": by_datafusion("SELECT number FROM found WHERE day IS NULL"),
    "ClickHouse": by_clickhouse(f"SELECT number FROM file({files}) WHERE day IS NULL"),
}
rows = [f"{name} {rows[0][0] if rows else 'none'}" for name, rows in found.items()]
print("row of the null day        ", "    ".join(rows))
assert found == {"pyarrow": [(1,)], "DuckDB": [(1,)], "DataFusion": [], "ClickHouse": []}

((day,),) = by_datafusion("SELECT day FROM found WHERE number = 1")
print("its day in DataFusion      ", day)
assert day == HIVE

((day,),) = by_clickhouse(f"SELECT day FROM file({files}) WHERE number = 1")
print("its day in ClickHouse      ", day)
assert day == HIVE

context.sql(TABLE.format("dated", "(number BIGINT, day DATE)"))
try:
    by_datafusion("SELECT day FROM dated")
    error = "no error"
except Exception as raised:
    error = str(raised)
error = error.rpartition("Cast error: ")[2]
print("DataFusion, day is a DATE  ", error)
assert error == f"Cannot cast string '{HIVE}' to value of Date32 type"
PYTHON
