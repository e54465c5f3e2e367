#!/usr/bin/env bash
# pyarrow 26.0.1 reads 64-bit unsigned numbers from JSON and CSV as double.
#
# EXC_GUARD codes of the guard types VN, VIRT_MEMORY and REJECTED_SC are 2**63 or more. With one of them in a column,
# pyarrow.json.read_json and pyarrow.csv.read_csv infer double for it, without an error or a warning, and every code in
# the column loses its low bits, which hold the target. uint64, which Arrow has, is not tried; a schema gives it.
#
# Output seen:
#   written         0x2000020000002703 0xc000000000000016
#   JSON, double    0x2000020000002800 0xc000000000000000
#   CSV, double     0x2000020000002800 0xc000000000000000
#   JSON, uint64    0x2000020000002703 0xc000000000000016    with a schema
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" -q install pyarrow==26.0.1
cd "$directory"
venv/bin/python - <<'PYTHON'
import json
from pathlib import Path

import pyarrow
import pyarrow.csv
import pyarrow.json

codes = [0x2000020000002703, 0xC000000000000016]  # MACH_PORT INVALID_NAME of port 0x2703; REJECTED_SC


def read(name, table):
    column = table["code"]
    values = [int(value) for value in column.to_pylist()]
    print(f"{name + ', ' + str(column.type):14}", *map(hex, values))
    return str(column.type), values


Path("hits.jsonl").write_text("".join(json.dumps({"code": code}) + "\n" for code in codes))
Path("hits.csv").write_text("code\n" + "".join(f"{code}\n" for code in codes))
print("written       ", *map(hex, codes))

rounded = [0x2000020000002800, 0xC000000000000000]
assert read("JSON", pyarrow.json.read_json("hits.jsonl")) == ("double", rounded)
assert read("CSV", pyarrow.csv.read_csv("hits.csv")) == ("double", rounded)

options = pyarrow.json.ParseOptions(explicit_schema=pyarrow.schema({"code": pyarrow.uint64()}))
assert read("JSON", pyarrow.json.read_json("hits.jsonl", parse_options=options)) == ("uint64", codes)
PYTHON
