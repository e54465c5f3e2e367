#!/usr/bin/env bash
# pandas 3.1.1 cannot read a partitioned Parquet directory that it wrote, when a value of the partition key is null.
#
# DataFrame.to_parquet with partition_cols writes the rows whose key is null to key=__HIVE_DEFAULT_PARTITION__, Hive's
# name for null. read_parquet raises ArrowInvalid on that directory. pyarrow 26.0.1, which reads for pandas,
# recognizes the name, but gives the key as dictionaries, one a file, and cannot merge these when one holds null. The
# argument partitioning is passed on to pyarrow and gives a plain column; read_parquet then returns what was written.
#
# Output seen:
#   keys 2026-03-01, 2026-03-02: read
#   keys 2026-03-01, null: ArrowInvalid: Cannot yet unify dictionaries with nulls
#   the same, with partitioning=pyarrow.dataset.partitioning(flavor="hive"): read
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" -q install pandas==3.1.1 pyarrow==26.0.1
cd "$directory"
venv/bin/python - <<'PYTHON'
import pandas
import pyarrow.dataset


def write(name, keys):
    pandas.DataFrame({"key": keys, "row": [0, 1]}).to_parquet(name, partition_cols=["key"])
    return keys


def read(name, keys, **options):
    """The word "read" when pandas returns the keys that were written, else its error."""
    try:
        frame = pandas.read_parquet(name, **options)
    except pyarrow.ArrowInvalid as error:
        return f"{type(error).__name__}: {error}"
    found = [None if pandas.isna(key) else key for key in frame.sort_values("row")["key"]]
    assert found == keys, found
    return "read"


days = write("days", ["2026-03-01", "2026-03-02"])
found = read("days", days)
print("keys 2026-03-01, 2026-03-02:", found)
assert found == "read"

unknown = write("unknown", ["2026-03-01", None])
found = read("unknown", unknown)
print("keys 2026-03-01, null:", found)
assert found == "ArrowInvalid: Cannot yet unify dictionaries with nulls"

found = read("unknown", unknown, partitioning=pyarrow.dataset.partitioning(flavor="hive"))
print('the same, with partitioning=pyarrow.dataset.partitioning(flavor="hive"):', found)
assert found == "read"
PYTHON
