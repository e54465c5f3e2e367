"""Engines and readers of others: the snippets of docs/fleet.md, and whether codes are exact in each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset
import pytest

from excguard.fleet.listing import Selection
from tests.fleet.conftest import CODE, one_process, report

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "fleet.md"
SNIPPETS = re.findall(r"### (\w+)\n\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
PACKAGES = {
    "Dask": "dask",
    "Daft": "daft",
    "Ray": "ray",
    "Spark": "pyspark",
    "Polars": "polars",
    "DuckDB": "duckdb",
}


def needs(package: str) -> None:
    if find_spec(package) is None:
        pytest.skip(f"needs {package} (the dependency group engines)")


def test_every_engine_has_a_snippet() -> None:
    assert {name for name, _ in SNIPPETS} == set(PACKAGES)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), SNIPPETS, ids=[name for name, _ in SNIPPETS])
def test_snippet_of_the_page(tmp_path: Path, name: str, code: str) -> None:
    needs(PACKAGES[name])
    (tmp_path / "reports").mkdir()
    for number in range(20):
        (tmp_path / "reports" / f"{number:02}.ips").write_text(report(number, guard=number % 4 == 0))

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=180
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "5"


Row = tuple[str | None, int | None, int | None]


def by_duckdb(output: Path) -> list[Row]:
    import duckdb  # noqa: PLC0415 - optional

    files = f"'{output}/os_major=*/*/*.parquet'"
    query = f"select code, os_major, guard_target from {files}"  # noqa: S608 - our own directory
    return [tuple(row) for row in duckdb.sql(query).fetchall()]


def by_polars(output: Path) -> list[Row]:
    import polars as pl  # noqa: PLC0415 - optional

    table = pl.read_parquet(f"{output}/os_major=*/**/*.parquet", hive_partitioning=True)
    return table.select("code", "os_major", "guard_target").rows()


def by_pandas(output: Path) -> list[Row]:
    import pandas as pd  # noqa: PLC0415 - optional

    table = pd.read_parquet(output, partitioning=pa.dataset.partitioning(flavor="hive"))
    columns = (table[name].tolist() for name in ("code", "os_major", "guard_target"))
    rows = zip(*columns, strict=True)
    return [tuple(None if pd.isna(value) else value for value in row) for row in rows]


def by_chdb(output: Path) -> list[Row]:
    import chdb  # noqa: PLC0415 - optional

    major = r"toInt16OrNull(extract(_path, 'os_major=(\\d+)'))"
    files = f"file('{output}/os_major=*/*/*.parquet')"
    query = f"select code, {major}, guard_target from {files} settings use_hive_partitioning = 0"  # noqa: S608
    return [tuple(json.loads(line)) for line in str(chdb.query(query, "JSONCompactEachRow")).splitlines()]


def by_datafusion(output: Path) -> list[Row]:
    import datafusion  # noqa: PLC0415 - optional

    context = datafusion.SessionContext()
    context.sql(f"create external table found stored as parquet location '{output}/'")
    major = "cast(nullif(os_major, '__HIVE_DEFAULT_PARTITION__') as smallint) as os_major"
    table = context.sql(f"select code, {major}, guard_target from found").to_arrow_table()  # noqa: S608
    return [tuple(row.values()) for row in table.to_pylist()]


def by_pyspark(output: Path) -> list[Row]:
    from pyspark.sql import SparkSession  # noqa: PLC0415 - optional

    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        rows = spark.read.parquet(str(output)).select("code", "os_major", "guard_target").collect()
        return [tuple(row) for row in rows]
    finally:
        spark.stop()


def by_pyarrow(output: Path) -> list[Row]:
    found = pa.dataset.dataset(output, partitioning="hive")
    return [tuple(row.values()) for row in found.to_table(["code", "os_major", "guard_target"]).to_pylist()]


READERS = [by_duckdb, by_polars, by_pandas, by_chdb, by_datafusion, by_pyspark, by_pyarrow]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the readers
@pytest.mark.parametrize("read", READERS)
def test_codes_are_exact_in_every_reader(tmp_path: Path, read: Callable[[Path], list[Row]]) -> None:
    needs(read.__name__.removeprefix("by_"))
    (tmp_path / "in").mkdir()
    for number in range(6):
        text = report(number, guard=True, os="26.4" if number % 2 else "15.5")
        (tmp_path / "in" / f"{number}.ips").write_text(text)
    (tmp_path / "in" / "6.ips").write_text("cut off")  # its row has neither a code nor a system
    output = tmp_path / "out"
    one_process(Selection(str(tmp_path / "in")), output)

    expected = Counter({(f"{CODE:#x}", 15, 0x2703): 3, (f"{CODE:#x}", 26, 0x2703): 3, (None, None, None): 1})
    assert Counter(read(output)) == expected
