"""Engines and readers of others: the snippets of docs/fleet.md, and whether codes are exact in each."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet
import pytest

from excguard.fleet.listing import Part, Selection
from excguard.fleet.plan import Plan
from excguard.fleet.shard import scan_shard
from excguard.fleet.store import open_store
from tests.fleet.conftest import CODE, report

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


def by_duckdb(output: Path) -> list[tuple[str, int, int]]:
    import duckdb  # noqa: PLC0415 - optional

    files = f"'{output}/os_major=*/*/*.parquet'"
    query = f"select code, os_major, guard_target from read_parquet({files})"  # noqa: S608 - our own directory
    return [tuple(row) for row in duckdb.sql(query).fetchall()]


def by_polars(output: Path) -> list[tuple[str, int, int]]:
    import polars as pl  # noqa: PLC0415 - optional

    table = pl.read_parquet(f"{output}/os_major=*/**/*.parquet", hive_partitioning=True)
    return table.select("code", "os_major", "guard_target").rows()


def by_pandas(output: Path) -> list[tuple[str, int, int]]:
    import pandas as pd  # noqa: PLC0415 - optional

    table = pd.read_parquet(output)
    columns = (table["code"], table["os_major"].astype(int), table["guard_target"].astype(int))
    return list(zip(*columns, strict=True))


def by_chdb(output: Path) -> list[tuple[str, int, int]]:
    import chdb  # noqa: PLC0415 - optional

    major = r"extract(_path, 'os_major=(\\d+)')"
    query = f"select code, {major}, guard_target from file('{output}/os_major=*/*/*.parquet')"  # noqa: S608
    lines = str(chdb.query(query, "TSV")).splitlines()
    return [(code, int(major), int(target)) for code, major, target in (line.split("\t") for line in lines)]


def by_pyspark(output: Path) -> list[tuple[str, int, int]]:
    from pyspark.sql import SparkSession  # noqa: PLC0415 - optional

    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        rows = spark.read.parquet(str(output)).select("code", "os_major", "guard_target").collect()
        return [tuple(row) for row in rows]
    finally:
        spark.stop()


def by_pyarrow(output: Path) -> list[tuple[str, int, int]]:
    table = pa.parquet.read_table(output, partitioning="hive", columns=["code", "os_major", "guard_target"])
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the readers
@pytest.mark.parametrize("read", [by_duckdb, by_polars, by_pandas, by_chdb, by_pyspark, by_pyarrow])
def test_codes_are_exact_in_every_reader(
    tmp_path: Path, read: Callable[[Path], list[tuple[str, int, int]]]
) -> None:
    needs(read.__name__.removeprefix("by_"))
    (tmp_path / "in").mkdir()
    for number in range(6):
        text = report(number, guard=True, os="26.4" if number % 2 else "15.5")
        (tmp_path / "in" / f"{number}.ips").write_text(text)
    output = tmp_path / "out"
    plan = Plan(open_store(str(output)), Part())
    selection = Selection(str(tmp_path / "in"))
    plan.begin(selection.description())
    for shard in plan.shards(selection.keys):
        scan_shard(selection.source, str(output), shard)

    expected = [(f"{CODE:#x}", 15, 0x2703)] * 3 + [(f"{CODE:#x}", 26, 0x2703)] * 3
    assert sorted(map(tuple, read(output))) == expected
