"""Whole scans: exact counts, resumed after any kill, from directories, buckets, inventories and lists."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest

from excguard.crash_reports import scan as scan_command
from excguard.crash_reports.prefilter import HEAD
from excguard.fleet import engine, inventory
from excguard.fleet import plan as plan_module
from excguard.fleet.engine import Engine, EngineError
from excguard.fleet.listing import Part, Selection
from excguard.fleet.plan import Plan, Shard
from excguard.fleet.scan import scan
from excguard.fleet.shard import scan_shard
from excguard.fleet.store import BucketStore, Key, LocalStore, StoreError, open_store
from tests.fleet.conftest import one_process, report
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

GUARDS = Counter(f"host{number % 4}/{number:03}.ips" for number in range(0, 60, 6))
ALL = Part()
SAMPLES = Path(__file__).parents[1] / "data" / "reports"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SHARD_KEYS", 7)


def rows(output: Path) -> list[dict[str, Any]]:
    return pa.dataset.dataset(output, format="parquet", partitioning="hive").to_table().to_pylist()


def found(output: Path) -> Counter[str]:
    return Counter(row["path"] for row in rows(output) if row["error"] is None)


def manifest(output: Path, job: str = "1-of-1") -> dict[str, Any]:
    return json.loads((output / f"_excguard/manifest-{job}.json").read_text())


def test_counts_are_exact(reports: Path, tmp_path: Path) -> None:
    one_process(Selection(str(reports)), tmp_path / "out")

    assert found(tmp_path / "out") == GUARDS
    totals = manifest(tmp_path / "out")
    assert (totals["files"], totals["violations"], totals["errors"]) == (61, 10, 1)
    written = [str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.parquet")]
    assert sorted(totals["parts"]) == sorted(written)


def test_files_lie_by_system_and_day(reports: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one_process(Selection(str(reports)), out)

    directories = {str(path.parent.relative_to(out)) for path in out.rglob("*.parquet")}
    assert {"os_major=15/date=2026-03-01", "os_major=26/date=2026-03-07"} < directories
    assert {row["os_major"] for row in rows(out) if row["error"] is None} == {15, 26}


@pytest.mark.parametrize("stop", [0, 1, 4, 8])
def test_a_scan_goes_on_where_it_was_killed(reports: Path, tmp_path: Path, stop: int) -> None:
    """After ``stop`` shards, one more had written its files, and not that it is done."""
    output = tmp_path / "out"
    selection = Selection(str(reports))
    killed = Plan(open_store(str(output)), ALL)
    killed.begin(selection.description())
    shards = killed.shards(selection.keys)
    for _ in range(stop):
        scan_shard(selection.source, str(output), next(shards))
    half = next(shards)
    scan_shard(selection.source, str(output), half)
    (output / plan_module.done_path(half)).unlink()

    done = one_process(selection, output)

    assert len(done) == 9 - stop
    assert found(output) == GUARDS
    assert manifest(output)["files"] == 61


def test_a_finished_scan_reads_nothing_again(reports: Path, tmp_path: Path) -> None:
    one_process(Selection(str(reports)), tmp_path / "out")
    shutil.rmtree(reports)

    assert one_process(Selection(str(reports)), tmp_path / "out") == []
    assert manifest(tmp_path / "out")["files"] == 61


def test_files_that_come_in_between_change_no_shard(reports: Path, tmp_path: Path) -> None:
    selection = Selection(str(reports))
    plan = Plan(open_store(str(tmp_path / "out")), ALL)
    plan.begin(selection.description())
    scan_shard(selection.source, str(tmp_path / "out"), next(plan.shards(selection.keys)))
    (reports / "aaa.ips").write_text(report(0, guard=True))
    (reports / "zzz.ips").write_text(report(0, guard=True))

    one_process(selection, tmp_path / "out")

    assert found(tmp_path / "out") == GUARDS + Counter(["zzz.ips"])


def test_another_scan_does_not_mix_with_it(reports: Path, tmp_path: Path) -> None:
    one_process(Selection(str(reports)), tmp_path / "out")

    with pytest.raises(StoreError, match="has the results of another scan"):
        one_process(Selection(str(reports), everything=True), tmp_path / "out")


def test_an_array_of_jobs_reads_every_key_once(reports: Path, tmp_path: Path) -> None:
    for index in range(3):
        one_process(Selection(str(reports)), tmp_path / "out", Part(index, 3))

    assert found(tmp_path / "out") == GUARDS
    assert sum(manifest(tmp_path / "out", f"{job}-of-3")["files"] for job in (1, 2, 3)) == 61


@pytest.mark.parametrize(("part", "everything"), [(Part(0, 4), False), (ALL, False), (Part(1, 3), True)])
def test_an_array_does_not_mix_with_another(
    reports: Path, tmp_path: Path, part: Part, *, everything: bool
) -> None:
    """Another number of jobs divides the keys otherwise: some would be there twice."""
    one_process(Selection(str(reports)), tmp_path / "out", Part(0, 3))

    with pytest.raises(StoreError, match=r"has the results of another scan, .* in 3 jobs: choose another"):
        one_process(Selection(str(reports), everything=everything), tmp_path / "out", part)


@pytest.mark.parametrize("source", ["ftp://host/x", "http://127.0.0.1:1/"])
def test_a_source_that_cannot_be_listed_leaves_the_output_to_the_next_command(
    reports: Path, tmp_path: Path, source: str
) -> None:
    with pytest.raises(StoreError, match=source):
        one_process(Selection(source), tmp_path / "out")

    one_process(Selection(str(reports)), tmp_path / "out")
    assert found(tmp_path / "out") == GUARDS


def test_parts_of_an_array_share_no_key() -> None:
    keys = [Key(f"{number}") for number in range(1000)]
    shares = [[key for key in keys if Part(index, 7).has(key)] for index in range(7)]

    assert sorted(key for share in shares for key in share) == sorted(keys)
    assert min(map(len, shares)) > 100


def test_since_leaves_out_what_is_older(reports: Path, tmp_path: Path) -> None:
    for path in (*reports.rglob("*.ips"), reports / "empty.crash"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    os.utime(reports / "host0/000.ips", (1_900_000_000, 1_900_000_000))

    one_process(Selection(str(reports), since=datetime(2026, 1, 1, tzinfo=UTC)), tmp_path / "out")

    assert found(tmp_path / "out") == Counter(["host0/000.ips"])
    assert manifest(tmp_path / "out")["files"] == 1


def test_paths_from_a_list(reports: Path, tmp_path: Path) -> None:
    lines = [b"host0/000.ips\n", b"\n", b"host2/006.ips", b"gone.ips"]

    one_process(Selection(str(reports), paths=lines), tmp_path / "out")

    assert found(tmp_path / "out") == Counter(["host0/000.ips", "host2/006.ips"])
    assert [row["path"] for row in rows(tmp_path / "out") if row["error"]] == ["gone.ips"]


def test_a_list_goes_on_by_its_places(reports: Path, tmp_path: Path) -> None:
    """Its last planned path is in it before, and comes again."""
    lines = [f"host{number % 4}/{number:03}.ips".encode() for number in (0, 6, 1, 2, 3, 4, 0, 12, 0)]
    selection = Selection(str(reports), paths=lines)
    plan = Plan(open_store(str(tmp_path / "out")), ALL)
    plan.begin(selection.description())
    next(plan.shards(selection.keys))
    (tmp_path / "out/_excguard/plan/1-of-1/000001.jsonl").unlink(missing_ok=True)
    (tmp_path / "out/_excguard/plan/1-of-1/complete").unlink(missing_ok=True)

    one_process(selection, tmp_path / "out")

    expected = Counter({"host0/000.ips": 3, "host2/006.ips": 1, "host0/012.ips": 1})
    assert found(tmp_path / "out") == expected


@pytest.mark.parametrize("lines", [[], [b"host0/000.ips"] * 9])
def test_another_list_than_the_first_is_refused(reports: Path, tmp_path: Path, lines: list[bytes]) -> None:
    first = Selection(str(reports), paths=[f"host0/{number:03}.ips".encode() for number in range(9)])
    plan = Plan(open_store(str(tmp_path / "out")), ALL)
    plan.begin(first.description())
    list(plan.shards(first.keys))
    (tmp_path / "out/_excguard/plan/1-of-1/complete").unlink()

    with pytest.raises(
        StoreError, match=r"the list of paths is not that of the first run, which had 'host0/"
    ):
        one_process(Selection(str(reports), paths=lines), tmp_path / "out")


def test_names_that_are_not_utf_8_are_read(reports: Path, tmp_path: Path) -> None:
    directory = os.fsencode(reports) + b"/d\xe9"
    try:
        os.mkdir(directory)  # noqa: PTH102 - bytes
    except OSError:
        pytest.skip("the file system has names in UTF-8 only")
    text = report(0, guard=True).encode()
    for name in (b"a.ips", b"\xff.ips", b"z.ips"):
        Path(os.fsdecode(directory + b"/" + name)).write_bytes(text)
    (reports / r"\x41\xzz\xff.ips").write_bytes(text)

    one_process(Selection(str(reports)), tmp_path / "out")

    names = Counter([r"d\xe9/a.ips", r"d\xe9/\xff.ips", r"d\xe9/z.ips", r"\x41\xzz\xff.ips"])
    assert found(tmp_path / "out") == GUARDS + names
    every = [key.path for key in LocalStore(reports).keys("")]
    for index, path in enumerate(every):
        assert [key.path for key in LocalStore(reports).keys(path)] == every[index + 1 :]
    listed = Selection(str(reports), paths=[b"d\xe9/\xff.ips\n", b"\xfe.ips", b"a\0.ips"])
    one_process(listed, tmp_path / "listed")
    assert found(tmp_path / "listed") == Counter([r"d\xe9/\xff.ips"])
    assert {row["path"] for row in rows(tmp_path / "listed") if row["error"]} == {r"\xfe.ips", "a\0.ips"}


def test_files_that_are_not_regular_are_errors(reports: Path, tmp_path: Path) -> None:
    os.mkfifo(reports / "pipe.ips")
    (reports / "link.ips").symlink_to(reports / "nowhere")

    one_process(Selection(str(reports)), tmp_path / "out")

    errors = {row["path"] for row in rows(tmp_path / "out") if row["error"]}
    assert errors == {"empty.crash", "pipe.ips", "link.ips"}


def test_a_directory_that_cannot_be_listed_is_an_error(
    reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may list everything: a file that says that it is a directory stands in."""
    listed = os.scandir

    def scandir(path: str) -> Any:
        entries = listed(path)
        return contextlib.nullcontext(map(_Directory, entries)) if path == str(reports) else entries

    monkeypatch.setattr(os, "scandir", scandir)
    (reports / "host1").rename(reports / "elsewhere")
    (reports / "host1").touch()

    one_process(Selection(str(reports)), tmp_path / "out")

    errors = {row["path"]: row["error"] for row in rows(tmp_path / "out") if row["error"]}
    assert errors["host1/"] == "cannot be read: not a directory"
    every = [key.path for key in LocalStore(reports).keys("")]
    for index, path in enumerate(every):
        assert [key.path for key in LocalStore(reports).keys(path)] == every[index + 1 :]


class _Directory:
    """An entry that is a directory when its name has no suffix."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name, self.path = entry.name, entry.path

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        assert not follow_symlinks
        return "." not in self.name


def test_a_source_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="gone: cannot be listed: no such file or directory"):
        one_process(Selection(str(tmp_path / "gone")), tmp_path / "out")


def test_a_report_beyond_the_head_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    text = report(0, guard=True).replace('"procName"', f'"filler": "{"x" * 2 * HEAD}",\n"procName"')
    (tmp_path / "in" / "a.ips").write_text(text)

    one_process(Selection(str(tmp_path / "in")), tmp_path / "out")

    assert found(tmp_path / "out") == Counter(["a.ips"])


def test_keys_resume_behind_any_of_them(reports: Path) -> None:
    store = LocalStore(reports)
    every = list(store.keys())

    assert len(every) == 62
    for index, key in enumerate(every):
        assert list(store.keys(key.path)) == every[index + 1 :]


_COMMON = (
    *("format", "kind", "process", "pid", "os", "cpu", "flavor", "flavor_name", "severity", "guard_target"),
    *("code", "subcode", "release", "summary", "site_id", "site_precision", "app_version"),
)
"""Columns that the rows of `excguard scan` have under the same name."""


def test_rows_are_those_of_the_scan_command(reports: Path, tmp_path: Path) -> None:
    """The columns that both have, of reports of all forms, and of files that are none or cannot be read."""
    for source in sorted(SAMPLES.glob("*")):
        shutil.copy(source, reports / f"{source.stem}.txt")
    (reports / "cut.ips").write_text(report(60, guard=True)[:900])
    (reports / "nameless.ips").write_text(re.sub(r'"(procName|app_name)"', '"x"', report(66, guard=True)))
    (reports / "no_frames.ips").write_text(report(72, guard=True).replace('"frames"', '"x"'))
    (reports / "large.ips").write_text(report(78, guard=True) + " " * (1 << 20))
    (reports / "several.txt").write_text(f"{report(84, guard=True)}\n\n{report(90, guard=True)}\n")
    (reports / "binary.dmp").write_bytes(bytes(range(256)))
    (reports / "link.ips").symlink_to(reports / "nowhere")
    os.mkfifo(reports / "pipe.ips")

    one_process(Selection(str(reports)), tmp_path / "out")

    by_scan = Counter(
        (row.file.removeprefix(f"{reports}/"), row.error, row.guard_type)
        + (() if row.error else tuple(getattr(row, name) for name in _COMMON))
        for part in scan_command.scan(scan_command.files([str(reports)]), jobs=1)
        for row in part.rows
    )
    by_fleet = Counter(
        (row["path"], row["error"], row["guard_type_name"])
        + (() if row["error"] else tuple(row[name] for name in _COMMON))
        for row in rows(tmp_path / "out")
    )
    assert by_fleet == by_scan
    assert len(by_scan) > 20


# ---- the engine ----


def test_the_engine_gives_what_one_process_gives(reports: Path, tmp_path: Path) -> None:
    *_, progress = scan(Selection(str(reports)), str(tmp_path / "engine"), ALL, jobs=2)
    one_process(Selection(str(reports)), tmp_path / "one")

    assert progress[:3] == (61, 10, 1)
    assert sorted(map(repr, rows(tmp_path / "engine"))) == sorted(map(repr, rows(tmp_path / "one")))


def _workers(driver: int | None = None) -> list[int]:
    """The workers of a driver, or of this process: the children of the process that they are forked from."""
    return [
        worker.pid
        for process in psutil.Process(driver).children()
        if any("forkserver" in argument for argument in process.cmdline())
        for worker in process.children()
    ]


def test_a_killed_worker_changes_nothing(reports: Path, tmp_path: Path) -> None:
    killed = 0
    progress = None
    for progress in scan(Selection(str(reports)), str(tmp_path / "out"), ALL, jobs=2):  # noqa: B007 - the last one
        if not killed:
            (killed, *_) = _workers()
            os.kill(killed, signal.SIGKILL)

    assert killed
    assert progress[:3] == (61, 10, 1)
    assert found(tmp_path / "out") == GUARDS


def test_a_cluster_that_exists_gives_what_this_machine_gives(reports: Path, tmp_path: Path) -> None:
    import distributed  # noqa: PLC0415 - slow to import

    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
    ) as cluster:
        address = cluster.scheduler_address
        *_, progress = scan(Selection(str(reports)), str(tmp_path / "out"), ALL, cluster=address)

    assert progress[:3] == (61, 10, 1)
    assert found(tmp_path / "out") == GUARDS


def test_a_cluster_without_workers_is_an_error(
    reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed  # noqa: PLC0415 - slow to import

    monkeypatch.setattr(engine, "_ANSWER", 1)
    with (
        distributed.LocalCluster(
            n_workers=0, dashboard_address=None, scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}
        ) as cluster,
        pytest.raises(EngineError, match="the cluster has no workers after 1 s: start some"),
    ):
        list(scan(Selection(str(reports)), str(tmp_path / "out"), ALL, cluster=cluster.scheduler_address))


@pytest.mark.parametrize("address", ["", "nonsense", "ftp://x:1", "tls://127.0.0.1:1", "tcp://127.0.0.1:1"])
def test_an_address_that_is_not_of_a_cluster_is_one_error(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of Dask is left that would keep the process at its end."""
    monkeypatch.setattr(engine, "_ANSWER", 1)

    with pytest.raises(EngineError) as raised:
        list(scan(Selection(str(tmp_path)), str(tmp_path / "out"), ALL, cluster=address))

    assert str(raised.value).startswith(f"{address!r}: no cluster: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_scan_and_its_workers_with_one_line(tmp_path: Path, number: signal.Signals) -> None:
    """To the whole group, as a terminal does it."""
    (tmp_path / "in").mkdir()
    for index in range(2_000):
        (tmp_path / "in" / f"{index}.ips").write_text(report(index, guard=index % 10 == 0))
    (tmp_path / "driver.py").write_text(_SCAN)
    options = [tmp_path / "in", "--output", tmp_path / "out", "--jobs", "2"]
    with subprocess.Popen(
        [sys.executable, tmp_path / "driver.py", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until(lambda: list((tmp_path / "out").glob("_excguard/done/*/*.json")))
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, number)
        output, _ = process.communicate(timeout=60)

    assert output == "excguard: interrupted; run the same command again to carry on\n"
    assert process.returncode == -number
    assert children
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


_DRIVER = """
import os, signal, sys
from excguard.fleet import plan
plan.SHARD_KEYS = 7
result, results = plan.Plan.result, 0
def killing(*arguments):
    global results
    results += 1
    if results == 3:
        os.killpg(0, signal.SIGKILL)
    return result(*arguments)
if __name__ == "__main__":
    plan.Plan.result = killing
    sys.argv = ["excguard", "fleet", "scan", *sys.argv[1:]]
    from excguard.cli import main
    main()
"""


def test_a_killed_scan_is_resumed(reports: Path, tmp_path: Path) -> None:
    """The driver and all its workers at once, as by a machine that loses power, after two shards."""
    (tmp_path / "driver.py").write_text(_DRIVER)
    options = [str(reports), "--output", str(tmp_path / "out"), "--jobs", "2"]
    dead = subprocess.run(
        [sys.executable, tmp_path / "driver.py", *options], check=False, start_new_session=True, timeout=60
    )
    assert dead.returncode == -signal.SIGKILL
    assert not (tmp_path / "out/_excguard/manifest-1-of-1.json").exists()
    assert len(list((tmp_path / "out").glob("_excguard/done/*/*.json"))) >= 2

    command = [sys.executable, "-m", "excguard", "fleet", "scan", *options, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)

    totals = json.loads(done.stdout)
    assert (totals["files"], totals["violations"], totals["errors"]) == (61, 10, 1)
    assert found(tmp_path / "out") == GUARDS


_SCAN = """
import sys
from excguard.fleet import plan
plan.SHARD_KEYS = 100
if __name__ == "__main__":
    sys.argv = ["excguard", "fleet", "scan", *sys.argv[1:]]
    from excguard.cli import main
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("victim", ["worker", "driver"])
def test_a_kill_at_any_moment_changes_nothing(tmp_path: Path, victim: str, seed: int) -> None:
    """3,000 reports in 30 shards; the kill comes after a random number of them."""
    for number in range(3_000):
        path = tmp_path / "in" / f"host{number % 10}" / f"{number}.ips"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report(number, guard=number % 10 == 0, day=f"2026-03-{1 + number // 10 % 28:02}"))
    (tmp_path / "driver.py").write_text(_SCAN)
    output = tmp_path / "out"
    command = [sys.executable, tmp_path / "driver.py", tmp_path / "in", "--output", output, "--jobs", "2"]
    moment = random.Random(seed).randrange(28)  # noqa: S311 - the same in every run

    with subprocess.Popen(command, start_new_session=True) as process:
        done = output / "_excguard" / "done" / "1-of-1"
        wait_until(lambda: len(list(done.glob("*.json"))) >= moment)
        if victim == "driver":
            process.kill()
        else:
            os.kill(wait_until(lambda: _workers(process.pid))[0], signal.SIGKILL)
    assert process.returncode == (-signal.SIGKILL if victim == "driver" else 0)
    subprocess.run(command, check=True)

    expected = Counter(f"host{number % 10}/{number}.ips" for number in range(0, 3_000, 10))
    assert found(output) == expected
    totals = manifest(output)
    assert (totals["files"], totals["violations"], totals["errors"]) == (3_000, 300, 0)


# ---- buckets, on a stand-in for S3 ----


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server_module = pytest.importorskip("moto.server")
    import boto3  # noqa: PLC0415 - comes with moto

    for name, value in (
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="farm")
    yield client
    server.stop()


def upload(client: Any, root: Path, prefix: str) -> None:
    for path in sorted(root.rglob("*")):
        if path.is_file():
            client.put_object(Bucket="farm", Key=f"{prefix}/{path.relative_to(root)}", Body=path.read_bytes())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of moto and boto3
class TestBuckets:
    def test_from_bucket_to_bucket(self, bucket: Any, reports: Path, tmp_path: Path) -> None:
        upload(bucket, reports, "in")

        one_process(Selection("s3://farm/in"), "s3://farm/out")
        assert one_process(Selection("s3://farm/in"), "s3://farm/out") == []

        for entry in bucket.list_objects_v2(Bucket="farm", Prefix="out/")["Contents"]:
            target = tmp_path / entry["Key"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(bucket.get_object(Bucket="farm", Key=entry["Key"])["Body"].read())
        assert found(tmp_path / "out") == GUARDS
        assert all(row["etag"] for row in rows(tmp_path / "out"))

    @pytest.mark.parametrize("form", ["CSV", "Parquet"])
    def test_an_inventory_stands_for_the_listing(
        self, bucket: Any, reports: Path, tmp_path: Path, form: str
    ) -> None:
        upload(bucket, reports, "in")
        upload(bucket, reports, "elsewhere")
        listed = bucket.list_objects_v2(Bucket="farm")["Contents"]
        records = [("farm", o["Key"], o["Size"], o["LastModified"].isoformat(), o["ETag"]) for o in listed]
        if form == "CSV":
            text = io.StringIO()
            csv.writer(text, quoting=csv.QUOTE_ALL).writerows(records)
            data = gzip.compress(text.getvalue().encode())
        else:
            names = ("bucket", "key", "size", "last_modified_date", "e_tag")
            table = pa.table({name: [record[i] for record in records] for i, name in enumerate(names)})
            pa.parquet.write_table(table, tmp_path / "data")
            data = (tmp_path / "data").read_bytes()
        bucket.put_object(Bucket="farm", Key="inventory/data/1", Body=data)
        described = {
            "fileFormat": form,
            "fileSchema": "Bucket, Key, Size, LastModifiedDate, ETag",
            "files": [{"key": "inventory/data/1"}],
        }
        bucket.put_object(Bucket="farm", Key="inventory/manifest.json", Body=json.dumps(described))

        one_process(Selection("s3://farm/in", inventory="inventory/manifest.json"), tmp_path / "out")

        assert found(tmp_path / "out") - Counter(["notes.md"]) == GUARDS

    def test_an_inventory_of_versions_gives_the_latest(
        self, bucket: Any, reports: Path, tmp_path: Path
    ) -> None:
        upload(bucket, reports, "in")
        records = [
            ("farm", "in/host0/000.ips", "true", "false"),
            ("farm", "in/host0/000.ips", "false", "false"),
            ("farm", "in/host2/006.ips", "true", "true"),
        ]
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows(records)
        bucket.put_object(Bucket="farm", Key="list", Body=gzip.compress(text.getvalue().encode()))
        described = {
            "fileFormat": "CSV",
            "fileSchema": "Bucket, Key, IsLatest, IsDeleteMarker",
            "files": [{"key": "list"}],
        }
        bucket.put_object(Bucket="farm", Key="manifest.json", Body=json.dumps(described))

        one_process(Selection("s3://farm/in", inventory="manifest.json"), tmp_path / "out")

        assert found(tmp_path / "out") == Counter(["host0/000.ips"])

    @pytest.mark.usefixtures("bucket")
    def test_an_output_bucket_that_is_missing_is_one_line(self, reports: Path) -> None:
        with pytest.raises(StoreError, match=r"s3://nowhere/out/.*cannot write.*NoSuchBucket") as raised:
            one_process(Selection(str(reports)), "s3://nowhere/out")
        assert "\n" not in str(raised.value)

    def test_credentials_of_a_profile(
        self, bucket: Any, reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload(bucket, reports, "in")
        (tmp_path / "credentials").write_text("[farm]\naws_access_key_id=a\naws_secret_access_key=b\n")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_PROFILE", "farm")

        one_process(Selection("s3://farm/in"), tmp_path / "out")

        assert found(tmp_path / "out") == GUARDS
        monkeypatch.setenv("AWS_PROFILE", "none")
        with pytest.raises(StoreError, match=r"s3://farm/in: The config profile \(none\) could not be found"):
            open_store("s3://farm/in")

    @pytest.mark.usefixtures("bucket")
    def test_missing_credentials_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")

        with pytest.raises(StoreError, match="no credentials in the environment, and none of this machine"):
            list(open_store("s3://farm/in").keys(""))

    @pytest.mark.usefixtures("bucket")
    def test_a_bucket_that_cannot_be_read_ends_the_scan(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="s3://nowhere"):
            one_process(Selection("s3://nowhere/in"), tmp_path / "out")

    @pytest.mark.usefixtures("bucket")
    def test_keys_that_are_all_unreadable_are_not_taken_for_bad_files(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="nothing of 2 keys can be read"):
            one_process(Selection("s3://nowhere/in", paths=[b"a.ips", b"b.ips"]), tmp_path / "out")
        assert not list(tmp_path.rglob("done/*/*.json"))


class _WithRanges(SimpleHTTPRequestHandler):
    """A web server; Python's own does not answer a part of a file."""

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""

    def send_head(self) -> Any:
        first, _, last = (self.headers["Range"] or "").removeprefix("bytes=").partition("-")
        file = super().send_head() if not first else None
        if file is not None:
            return file
        content = Path(self.translate_path(self.path)).read_bytes()
        part = content[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        return io.BytesIO(part)


class _WithoutRanges(_WithRanges):
    send_head = SimpleHTTPRequestHandler.send_head


@pytest.mark.parametrize("handler", [_WithRanges, _WithoutRanges])
def test_paths_of_a_web_server(
    reports: Path, tmp_path: Path, handler: type[SimpleHTTPRequestHandler]
) -> None:
    (reports / "large.ips").write_text(report(78, guard=True) + " " * (1 << 20))
    paths = [str(path.relative_to(reports)).encode() for path in sorted(reports.rglob("*.ips"))]
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(reports))) as server:
        Thread(target=server.serve_forever).start()
        source = f"http://127.0.0.1:{server.server_port}/"

        one_process(Selection(source, paths=[*paths, b"../x.ips", b"gone.ips"]), tmp_path / "out")
        with pytest.raises(StoreError, match="the paths of a web server have to come from --stdin"):
            list(open_store(source).keys(""))
        server.shutdown()

    assert found(tmp_path / "out") == GUARDS + Counter(["large.ips"])
    assert {row["path"] for row in rows(tmp_path / "out") if row["error"]} == {"../x.ips", "gone.ips"}


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://"])
def test_urls_of_no_known_kind(url: str) -> None:
    with pytest.raises(StoreError, match=url):
        BucketStore(url)


def test_a_lost_plan_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the plan of shard"):
        scan_shard(str(tmp_path), str(tmp_path), Shard("1-of-1", 0))


def test_a_cluster_of_this_machine_listens_on_the_loopback_interface_alone() -> None:
    with Engine(cluster=None, jobs=1) as engine:
        assert engine.workers == 1
        listening = [
            connection.laddr
            for process in (psutil.Process(), *psutil.Process().children(recursive=True))
            for connection in process.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        ]

    assert listening
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert 8787 not in {address.port for address in listening}


def test_workers_that_cannot_be_started_are_one_error(
    reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed.nanny.WorkerProcess, "start", _fails)

    with pytest.raises(EngineError, match="this machine: no cluster: Nanny failed to start"):
        list(scan(Selection(str(reports)), str(tmp_path / "out"), ALL, jobs=1))
    assert not _workers()


async def _fails(_self: object) -> None:
    raise BlockingIOError("no more processes")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"path": 5}\n', b'{"a":' + b"[" * 9_999])
@pytest.mark.parametrize("name", ["000000.jsonl", "complete", "000000.json"])
def test_a_damaged_file_of_the_plan_is_one_error_that_names_it(
    reports: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    one_process(Selection(str(reports)), tmp_path / "out")
    (path,) = (tmp_path / "out" / "_excguard").rglob(name)
    path.write_bytes(content)

    def again() -> None:
        one_process(Selection(str(reports)), tmp_path / "out")
        list(Plan(open_store(str(tmp_path / "out")), ALL).results())

    with pytest.raises(StoreError, match=f"{name} is damaged"):
        again()


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ("Bucket, Key", b"no gzip"),
        ("Bucket, Key", gzip.compress(b"a,b\n")[:-9]),
        ("Bucket, Key, Size", gzip.compress(b"a,b,many\n")),
        ("Bucket, Key, LastModifiedDate", gzip.compress(b"a,b,yesterday\n")),
        ("Bucket, Size", gzip.compress(b"a,1\n")),
        ("Bucket, Key", gzip.compress(b"\xff\xfe\n")),
    ],
    ids=["not gzip", "cut off", "size", "time", "no key", "not UTF-8"],
)
def test_a_list_of_an_inventory_that_is_none_is_named(tmp_path: Path, schema: str, data: bytes) -> None:
    described = {"fileFormat": "CSV", "fileSchema": schema, "files": [{"key": "list"}]}
    (tmp_path / "manifest.json").write_text(json.dumps(described))
    (tmp_path / "list").write_bytes(data)

    with pytest.raises(StoreError, match="list: not a list of an S3 Inventory") as raised:
        list(inventory.keys(LocalStore(tmp_path), "manifest.json"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" * 4])
def test_a_list_in_the_form_of_parquet_that_is_none_is_named(tmp_path: Path, data: bytes) -> None:
    described = {"fileFormat": "Parquet", "fileSchema": "", "files": [{"key": "list"}]}
    (tmp_path / "manifest.json").write_text(json.dumps(described))
    (tmp_path / "list").write_bytes(data)

    with pytest.raises(StoreError, match="not a list of an S3 Inventory"):
        list(inventory.keys(LocalStore(tmp_path), "manifest.json"))


def test_a_fifo_in_the_output_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")

    with pytest.raises(StoreError, match="not a regular file"):
        list(inventory.keys(LocalStore(tmp_path), "manifest.json"))
