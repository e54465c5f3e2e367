#!/usr/bin/env bash
# pyarrow 26.0.1 cannot filter a uint64 column that holds numbers of 2**63 or more by a Python integer.
#
# A Parquet file may have a column of the type uint64; the EXC_GUARD codes of the guard types VN, VIRT_MEMORY and
# REJECTED_SC are 2**63 or more. A filter by such a number raises OverflowError. A filter by a smaller one raises
# ArrowInvalid, because of the other rows: the number is taken as int64, and the column is cast to that. With
# pyarrow.scalar(number, pyarrow.uint64()) in place of the number both work.
#
# Output seen:
#   the column                      uint64 0x2000020000002703 0xc000000000000016
#   filter by 0xc000000000000016    OverflowError: Python int too large to convert to C long
#   filter by 0x2000020000002703    ArrowInvalid: Integer value 13835058055282163734 not in range: 0 to 9223372036854775807
#   filter by uint64 scalars        1 row, 1 row
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" -q install pyarrow==26.0.1
cd "$directory"
venv/bin/python - <<'PYTHON'
import pyarrow
import pyarrow.parquet

small, large = 0x2000020000002703, 0xC000000000000016  # MACH_PORT INVALID_NAME of port 0x2703; REJECTED_SC
table = pyarrow.table({"code": pyarrow.array([small, large], pyarrow.uint64())})
pyarrow.parquet.write_table(table, "hits.parquet")


def rows(value):
    return pyarrow.parquet.read_table("hits.parquet", filters=[("code", "=", value)])["code"].to_pylist()


def error_of(value):
    try:
        return f"{len(rows(value))} row"
    except (OverflowError, pyarrow.ArrowInvalid) as error:
        return f"{type(error).__name__}: {error}"


print("the column                     ", table["code"].type, hex(small), hex(large))
errors = {
    large: "OverflowError: Python int too large to convert to C long",
    small: f"ArrowInvalid: Integer value {large} not in range: 0 to {2**63 - 1}",
}
for code, expected in errors.items():
    print(f"filter by {code:#x}   ", error_of(code))
    assert error_of(code) == expected

assert rows(pyarrow.scalar(large, pyarrow.uint64())) == [large]
assert rows(pyarrow.scalar(small, pyarrow.uint64())) == [small]
print("filter by uint64 scalars        1 row, 1 row")
PYTHON
