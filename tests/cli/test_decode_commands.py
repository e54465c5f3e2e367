"""excguard decode, explain, report and scan, as commands: what they print and how they end."""

import csv
import errno
import gc
import io
import json
import os
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from excguard.cli import main
from excguard.cli.follow import follow
from excguard.cli.row_files import open_rows
from excguard.cli.violation_text import wrapped
from excguard.crash_reports import scan
from excguard.crash_reports.scan import Row
from tests.support.samples import INVALID_NAME

DATA = Path(__file__).parents[1] / "data"
GUIDE = "GUARD 2305845208236959491"


def run(*args: str, stdin: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(main, args, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


class TestDecode:
    @pytest.mark.parametrize(
        "args",
        [
            ("2305845208236959491",),
            ("0x2000020000002703", "0"),
            ("Termination Reason: " + GUIDE,),
            ("Termination", "Reason:", "GUARD", "2305845208236959491"),
            ("stop reason = EXC_GUARD (code=2305845208236959491, subcode=0x0)",),
            ("0x2000020000002703,", "0x0"),
            ("0x2000020000002703, 0x0",),
        ],
    )
    def test_prints_one_object(self, args: tuple[str, ...]) -> None:
        result = run("decode", "--json", *args)
        (found,) = lines(result)

        assert result.exit_code == 0
        assert (found["code"], found["flavor_name"], found["target"]) == (
            "0x2000020000002703",
            "INVALID_NAME",
            9987,
        )

    @pytest.mark.parametrize(
        ("text", "subcode"),
        [
            ("0x2000000680000001 0x6e", "0x6e"),
            ("got (0x2000000680000001, 0x6e)", "0x6e"),
            ("code=2305843037130981377 subcode=110\nmore", "0x6e"),
            ("0x2000000680000001 110 times", None),
            ("0x2000000680000001\n0x6e", None),
        ],
    )
    def test_a_code_amid_text_keeps_its_subcode(self, text: str, subcode: str | None) -> None:
        (found,) = lines(run("decode", "--json", stdin=text))

        assert (found["code"], found["subcode"]) == ("0x2000000680000001", subcode)

    def test_a_long_line_costs_no_more_than_its_length(self) -> None:
        spaces = " " * 1_000_000  # at a cost that grows with the square this test would not end
        (found,) = lines(run("decode", "--json", stdin=f"0x2000000680000001 1{spaces}x"))

        assert found["subcode"] is None

    def test_a_file_is_for_report(self, tmp_path: Path) -> None:
        path = tmp_path / "App.ips"
        path.write_text(GUIDE)
        result = run("decode", str(path))

        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{path} is a file: `excguard report` reads it" in result.stderr

    def test_a_negative_number_is_no_option(self) -> None:
        (found,) = lines(run("decode", "--json", "-6917529023346114560", "-1"))

        assert (found["code"], found["subcode"]) == ("0xa000000100000000", "0xffffffffffffffff")

    def test_a_release_settles_the_readings(self) -> None:
        code = str(1 << 61 | 0x20000 << 32)
        (alone,) = lines(run("decode", "--json", code))
        (then,) = lines(run("decode", "--json", code, "--os", "10.14.6"))

        assert (alone["flavor_name"], then["flavor_name"]) == ("SEND_INVALID_VOUCHER", "SEND_INVALID_RIGHT")
        assert [reading["releases"] for reading in alone["readings"]] == ["macOS 10.14.1 to 10.14.6"]
        assert (then["readings"], then["release"]) == ([], "macOS 10.14.6")

    def test_standard_input_with_several_violations(self) -> None:
        log = "\n".join(
            f"kernel: [App:7] EXC_GUARD AST: type=0x1 flavor=0x200 target={target:#x} "
            f"code={1 << 61 | 0x200 << 32 | target:#x} subcode=0x0"
            for target in (1, 2, 2)
        )

        assert [found["target"] for found in lines(run("decode", "--json", "-", stdin=log))] == [1, 2, 2]
        assert "2 times:" in run("decode", "-", stdin=log).stdout
        assert run("decode", stdin=log).stdout == run("decode", "-", stdin=log).stdout

    def test_words_for_people(self) -> None:
        output = run("decode", "0x2000010000000103", "0x0500000000020000", "--os", "26.4").stdout

        for word in (
            "INVALID_RIGHT on port 0x103",
            "mach_port_deallocate",
            "MACH_PORT_TYPE_RECEIVE",
            "optional",
            "fix",
        ):
            assert word in output

    @pytest.mark.parametrize(
        ("args", "status", "said"),
        [
            ((), 2, "give a number"),
            (("18446744073709551616",), 2, "does not fit 64 bits"),
            (("-9223372036854775809",), 2, "does not fit 64 bits"),
            (("0xzz",), 2, "not a number"),
            (("1.5",), 2, "not a number"),
            (("9" * 5000,), 2, "of 5000 digits does not fit"),
            (("1", "--os", "macOS 20"), 2, "there is no macOS 20"),
            (("1", "--os", "x"), 2, "cannot place the release"),
            (("hello",), 1, "nothing found"),
            (("--raw", "1"), 2, "standard input only"),
            (("--jsn", "0x2000020000002703"), 2, "No such option '--jsn'"),
            (("1", "2", "-v"), 2, "No such option '-v'"),
        ],
    )
    def test_misuse_is_one_line(self, args: tuple[str, ...], status: int, said: str) -> None:
        result = run("decode", *args)

        assert (result.exit_code, result.stdout) == (status, "")
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert len(result.stderr) < 400

    @pytest.mark.parametrize("data", [b"", b"\0\1\2", b"\xff" * 100, b"{" * 10000, b"[1," * 10000])
    def test_odd_input(self, data: bytes) -> None:
        result = run("decode", "-", stdin=data)

        assert result.exit_code == 1
        assert result.stderr.startswith("excguard: nothing found: ")
        assert len(result.stderr.splitlines()) == 1


class TestRaw:
    def golden(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (DATA / "mach_exc_golden.jsonl").read_text().splitlines()]

    def test_accepted_messages_with_and_without_trailer(self) -> None:
        entries = [
            entry for entry in self.golden() if entry["msgh_id"] in (2408, 2410) and entry["server_returns"]
        ]
        for entry in entries:
            expected = entry["catch_args"]
            assert isinstance(expected, dict)
            request = str(entry["request_hex"])
            padded = request + "00" * (-(len(request) // 2) % 4)
            for message in (request, padded + str(entry["trailer_hex"])):
                (found,) = lines(run("decode", "--raw", "--json", stdin=message + "\n"))

                assert found["verdict"] == "accepted"
                assert found["thread_id"] == expected["thread_id"]
                assert found["exception"] == expected["exception"]
                codes = [found[name] for name in ("code", "subcode") if found[name] is not None]
                assert [int(str(code), 16) for code in codes] == [
                    code & 2**64 - 1 for code in expected["code"]
                ]
                assert ("state_flavor" in found) == (entry["msgh_id"] == 2410)
        assert entries

    def test_one_object_a_line_and_insecure_behaviors(self) -> None:
        insecure = next(
            str(e["request_hex"]) for e in self.golden() if e["msgh_id"] == 2405 and e["server_returns"]
        )
        found = lines(run("decode", "--raw", "--json", stdin=f"{insecure}\n\n00\n"))

        assert [entry["verdict"] for entry in found] == ["insecure_behavior", "too_short", "too_short"]
        assert {entry["sender"] for entry in found} == {"unknown"}

    def test_what_is_no_hex(self) -> None:
        result = run("decode", "--raw", "--json", stdin=b"zz\n00\r\n0\n\xff")

        assert result.exit_code == 2
        assert [entry["verdict"] for entry in lines(result)] == ["not_hex", "too_short", "not_hex", "not_hex"]
        assert {entry["sender"] for entry in lines(result)} == {"unknown"}
        assert "line 1, 3, 4" in result.stderr


class TestExplain:
    def test_a_page(self) -> None:
        output = run("explain", "SEND_INVALID_RIGHT").stdout

        for word in (
            "kGUARD_EXC_SEND_INVALID_RIGHT",
            "0x20000",
            "0x40000",
            "10.14.6",
            "Apple's guide",
            "63",
            "fix",
        ):
            assert word in output

    def test_json(self) -> None:
        (page,) = lines(run("explain", "--json", "SET_EXCEPTION_BEHAVIOR"))

        assert page["name"] == "EXCEPTION_BEHAVIOR_ENFORCE"
        assert [era["value"] for era in page["timeline"]] == [1 << 24, 6]

    def test_list(self) -> None:
        output = run("explain", "--list")

        assert output.exit_code == 0
        assert len(output.stdout.splitlines()) > 85
        assert len(lines(run("explain", "--list", "--json"))) == len(output.stdout.splitlines())

    @pytest.mark.parametrize(
        ("args", "status", "said"),
        [
            ((), 2, "--list"),
            (("--list", "CLOSE"), 2, "--list"),
            (("INVALD_NAME",), 1, "did you mean INVALID_NAME"),
            (
                ("EXC_GUARD",),
                1,
                "stands for every guard: give the name of one, or a guard type (MACH_PORT, FD",
            ),
            (("kGUARD_EXC_",), 1, "stands for every guard"),
            (("%",), 1, "no guard has the name or number '%'"),
            (("0x800000", "--os", "26.4"), 1, "is not a guard's number on macOS 26.4"),
            (("CLOSE", "--os", "?"), 2, "cannot place"),
            (("libxpc",), 1, "'libxpc' is a namespace of exit reasons, the target of USER guards"),
        ],
    )
    def test_misuse_is_one_line(self, args: tuple[str, ...], status: int, said: str) -> None:
        result = run("explain", *args)

        assert result.exit_code == status
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1


class TestReport:
    def test_json_has_every_key_of_the_contract(self) -> None:
        paths = sorted(str(path) for path in (DATA / "reports").iterdir())
        result = run("report", "--json", *paths)

        assert result.exit_code == 0
        for path, found in zip(paths, lines(result), strict=True):
            assert found["file"] == path
            assert {
                "file",
                "format",
                "process",
                "os",
                "exception_type",
                "violations",
                "checks",
                "frames",
                "error",
            } <= set(found)
            assert found["error"] is None
            assert len(found["violations"]) == 1

    def test_words_for_people(self) -> None:
        output = run("report", str(DATA / "reports" / "text_04_macos26.5.2_subtype_message.txt")).stdout

        for word in (
            "dota2 [2166] on macOS 26.5.2",
            "INVALID_OPTIONS",
            "MACH64_POLICY_TRANSLATED",
            "agrees with itself",
        ):
            assert word in output

    def test_text_on_standard_input(self) -> None:
        (found,) = lines(run("report", "--json", "-", stdin=f"Termination Reason: {GUIDE}"))

        assert found["file"] == "-"

    def test_a_mismatch_is_named(self) -> None:
        words = "Exception Type: EXC_GUARD\nException Message: DESTROY on mach port 9987\n"
        text = f"{words}Termination Reason: {GUIDE}"

        assert "ReportCrash lags behind" in " ".join(run("report", "-", stdin=text).stdout.split())

    def test_unreadable_files_are_named_and_do_not_stop_it(self, tmp_path: Path) -> None:
        (tmp_path / "a.ips").write_bytes(b"\0\1")
        good = DATA / "reports" / "text_05_osx10.9.3_whole_code.txt"
        result = run("report", str(tmp_path / "a.ips"), str(tmp_path / "none.ips"), str(good))

        assert result.exit_code == 0
        assert "DUP on fd 0" in result.stdout
        assert [line.partition("tmp")[0] for line in result.stderr.splitlines()] == ["excguard: /"] * 2

    def test_nothing_found(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("hello")

        assert run("report", str(tmp_path / "a.txt")).exit_code == 1

    def test_misuse(self) -> None:
        assert run("report").exit_code == 2
        assert run("report", "x", "--os", "?").exit_code == 2


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three reports of two processes, one of another crash, one unreadable, one of another kind of file."""
    for name, code, process_name in (
        ("a", 0x2000020000002703, "App"),
        ("b", 0x2000020000002704, "App"),
        ("c", 0x4000000100000000, "Tool"),
    ):
        body = {
            "procName": process_name,
            "pid": 7,
            "exception": {"type": "EXC_GUARD", "rawCodes": [code & 0xFFFFF, 5]},
            "termination": {"namespace": "GUARD", "code": code},
            "faultingThread": 0,
            "threads": [
                {
                    "frames": [
                        {"imageIndex": 0, "imageOffset": 1, "symbol": "mach_msg2_trap"},
                        {"imageIndex": 1, "imageOffset": 2, "symbol": f"work_{name}"},
                    ]
                }
            ],
            "usedImages": [{"name": "libsystem_kernel.dylib"}, {"name": "Kit"}],
        }
        (tmp_path / f"{name}.ips").write_text(
            '{"bug_type":"309","os_version":"macOS 26.4 (25E246)"}\n' + json.dumps(body)
        )
    (tmp_path / "sub").mkdir()
    other = {
        "exception": {"type": "EXC_BAD_ACCESS", "rawCodes": [1, 2]},
        "termination": {"namespace": "SIGNAL"},
    }
    (tmp_path / "sub" / "d.ips").write_text('{"bug_type":"309"}\n' + json.dumps(other))
    (tmp_path / "sub" / "e.crash").write_bytes(b"\0\0\0")
    (tmp_path / "sub" / "f.log").write_text(f"Termination Reason: {GUIDE}")
    return tmp_path


class TestScan:
    def test_a_directory_that_cannot_be_listed(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        locked = str(directory / "sub")
        listed = os.scandir

        def refuse(path: str) -> object:  # root may list everything
            if path == locked:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return listed(path)

        monkeypatch.setattr(os, "scandir", refuse)
        result = run("scan", str(directory))

        assert f"excguard: {locked}: " in result.stderr
        assert "3 guard violations in 3 of 4 files; 1 could not be read" in result.stdout

    @pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
    def test_names_that_are_not_utf_8(self, directory: Path, tmp_path: Path, form: str) -> None:
        text = (directory / "a.ips").read_bytes()
        try:
            Path(os.fsdecode(os.fsencode(directory) + b"/n\xff.ips")).write_bytes(text)
        except OSError:
            pytest.skip("the file system has names in UTF-8 only")
        with tarfile.open(tmp_path / "reports.tar", "w") as archive:
            archive.add(directory / "a.ips", "m\udcfe.ips")
        sources = [str(directory), str(tmp_path / "reports.tar")]

        result = run("scan", *sources, "--json")
        written = run("scan", *sources, "--output", str(tmp_path / f"rows.{form}"))

        assert {row["file"] for row in lines(result)} > {
            rf"{directory}/n\xff.ips",
            rf"{tmp_path}/reports.tar:m\xfe.ips",
        }
        assert written.exit_code == 0
        single = run("report", "--json", os.fsdecode(os.fsencode(directory) + b"/n\xff.ips"))
        assert json.loads(single.stdout)["file"] == rf"{directory}/n\xff.ips"

    def test_one_is_one(self, directory: Path) -> None:
        assert "\n1 guard violation in 1 of 1 files" in run("scan", str(directory / "a.ips")).stdout

    def test_the_table(self, directory: Path) -> None:
        result = run("scan", str(directory))

        assert result.exit_code == 0
        assert "MACH_PORT INVALID_NAME" in result.stdout
        assert "Kit work_c" in result.stdout
        assert "3 guard violations in 3 of 5 files; 1 could not be read" in result.stdout
        assert "e.crash: a binary file" in result.stderr

    def test_grouped_by_process(self, directory: Path) -> None:
        output = run("scan", str(directory), "--by", "process").stdout

        assert [line.split()[1] for line in output.splitlines() if "App" in line] == ["2"]

    def test_json_lines(self, directory: Path) -> None:
        rows = lines(run("scan", "--json", str(directory)))

        assert [(row["process"], row["flavor_name"], row["code"]) for row in rows[:3]] == [
            ("App", "INVALID_NAME", "0x2000020000002703"),
            ("App", "INVALID_NAME", "0x2000020000002704"),
            ("Tool", "CLOSE", "0x4000000100000000"),
        ]
        assert [row["error"] for row in rows] == [None, None, None, "a binary file, not a crash report"]

    def test_csv_and_json_files(self, directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        out = tmp_path_factory.mktemp("out")
        run("scan", str(directory), "--output", str(out / "a.csv"))
        run("scan", str(directory), "--output", str(out / "a.jsonl"))
        with (out / "a.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))

        assert [row["code"] for row in rows] == [
            "0x2000020000002703",
            "0x2000020000002704",
            "0x4000000100000000",
            "",
        ]
        assert [json.loads(line)["file"] for line in (out / "a.jsonl").read_text().splitlines()] == [
            row["file"] for row in rows
        ]

    def test_parquet(self, directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        out = tmp_path_factory.mktemp("out") / "a.parquet"
        run("scan", str(directory), "--output", str(out))

        assert parquet.read_table(out).column("flavor_name").to_pylist() == [
            "INVALID_NAME",
            "INVALID_NAME",
            "CLOSE",
            None,
        ]

    def test_parquet_without_pyarrow(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        result = run("scan", str(directory), "--output", "x.parquet")

        assert (result.exit_code, result.stdout) == (2, "")
        assert "Parquet needs pyarrow: pip install pyarrow" in result.stderr

    def test_many_files_in_processes_come_out_the_same(self, tmp_path: Path) -> None:
        for number in range(300):
            (tmp_path / f"{number:03}.txt").write_text(
                f"Termination Reason: GUARD {0x2000020000000000 + number}"
            )
        one, many = (lines(run("scan", "--json", "--jobs", jobs, str(tmp_path))) for jobs in ("1", "2"))

        assert one == many
        assert [row["target"] for row in one] == list(range(300))

    def test_processes_that_start_in_the_midst_continue_the_rows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(300):
            (tmp_path / f"{number:03}.txt").write_text(
                f"Termination Reason: GUARD {0x2000020000000000 + number}"
            )
        monkeypatch.setattr(scan, "_WORTHWHILE", 0)
        monkeypatch.setattr(scan, "_processors", lambda: 2)

        assert [row["target"] for row in lines(run("scan", "--json", str(tmp_path)))] == list(range(300))

    def test_a_fifo_does_not_hold_it_up(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.ips")

        assert "not a regular file" in run("scan", str(tmp_path)).stderr

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("/nowhere",), "there is no /nowhere"),
            ((".", "--by", "color"), "--by color"),
            ((".", "--output", "a.xls"), "must end in"),
            ((".", "--output", "/nowhere/a.csv"), "no directory"),
            ((".", "--os", "?"), "cannot place"),
        ],
    )
    def test_misuse_is_one_line(self, args: Iterable[str], said: str) -> None:
        result = run("scan", *args)

        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_closed_pipe_is_no_traceback() -> None:
    code = "from excguard.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "explain", "--list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout
        assert child.stderr
        child.stdout.close()
        assert b"Traceback" not in child.stderr.read()


class TestFollow:
    LINE = (
        "kernel: [App:7] EXC_GUARD AST: type=0x1 flavor=0x200 target=0x3 code=0x2000020000000003 subcode=0x0"
    )

    def test_one_object_a_violation(self) -> None:
        stream = [
            json.dumps({"eventMessage": self.LINE}),
            "a line of something else",
            json.dumps(
                {
                    "resourceLogs": [
                        {"scopeLogs": [{"logRecords": [{"body": {"stringValue": self.LINE}}] * 2}]}
                    ]
                }
            ),
            self.LINE,
        ]
        found = lines(run("decode", "--follow", stdin="\n".join(stream)))

        assert [(one["flavor_name"], one["target"], one["process"], one["pid"]) for one in found] == [
            ("INVALID_NAME", 3, "App", 7)
        ] * 4

    def test_other_lines_are_passed_through_unchanged(self) -> None:
        long = "x" * (3 << 20)
        result = run("decode", "--follow", "--pass", stdin=f"one\n{self.LINE}\n\n{long}\nlast")
        shown = result.stdout.split("\n")

        assert [shown[0], *shown[2:]] == ["one", "", long, "last"]
        assert json.loads(shown[1])["code"] == "0x2000020000000003"

    def test_lines_that_are_not_read_are_counted(self) -> None:
        long = self.LINE + "x" * (1 << 20)
        result = run("decode", "--follow", stdin=f"{self.LINE}\n{long}\n{long}\n")

        assert len(lines(result)) == 1
        assert result.stderr == "excguard: 2 lines were not read: longer than 1 MiB\n"

    def test_each_object_is_written_when_its_line_is_complete(self) -> None:
        code = "from excguard.cli import main; main()"
        with subprocess.Popen(
            [sys.executable, "-c", code, "decode", "--follow"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            assert child.stdin
            assert child.stdout
            for _ in range(3):
                child.stdin.write(self.LINE.encode() + b"\n")
                child.stdin.flush()

                assert json.loads(child.stdout.readline())["target"] == 3
            child.stdin.close()

            assert child.wait() == 0

    @pytest.mark.parametrize("count", [20_000, pytest.param(200_000, marks=pytest.mark.slow)])
    def test_memory_does_not_grow_with_the_stream(self, count: int) -> None:
        def stream(first: int, end: int) -> Iterator[bytes]:
            for number in range(first, end):
                code = 1 << 61 | number << 32 | number
                numbers = f"type=0x1 flavor={number:#x} target={number:#x} code={code:#x}"
                line = f"[App:{number}] EXC_GUARD AST: {numbers}"
                yield (json.dumps({"eventMessage": line}) if number % 2 else line).encode() + b"\n"

        class Stream(io.BytesIO):
            def __init__(self, lines: Iterator[bytes]) -> None:
                self.lines = lines

            def readline(self, _size: int | None = -1) -> bytes:
                return next(self.lines, b"")

        with Path(os.devnull).open("wb") as output:
            follow(Stream(stream(0, 6_000)), output, None, pass_unknown=False)  # fills the caches
            gc.collect()
            before = sys.getallocatedblocks()
            follow(Stream(stream(6_000, 6_000 + count)), output, None, pass_unknown=False)
            gc.collect()

        assert sys.getallocatedblocks() - before < 2_000

    def test_nothing_found(self) -> None:
        assert run("decode", "--follow", stdin="hello\n").exit_code == 1


class TestStatus:
    def test_a_number_that_is_no_violation(self) -> None:
        assert run("decode", "5").exit_code == 1
        assert run("decode", "0x106").exit_code == 0

    def test_a_number_that_is_no_violation_in_a_closed_pipe(self) -> None:
        code = "from excguard.cli import main; main()"
        with subprocess.Popen([sys.executable, "-c", code, "decode", "5"], stdout=subprocess.PIPE) as child:
            assert child.stdout
            child.stdout.close()

            assert child.wait() == 1

    @pytest.mark.parametrize(
        ("word", "said"),
        [
            ("INVALID_NAM", "did you mean INVALID_NAME"),
            ("kGUARD_EXC_", "stands for every guard"),
            ("EXC_GUARD", "EXC_GUARD is named, but no code"),
        ],
    )
    def test_a_word_that_is_no_name(self, word: str, said: str) -> None:
        result = run("decode", word)

        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr

    def test_a_message_leads_to_the_page_of_its_name(self) -> None:
        assert (
            run("explain", "INVALID_NAME on mach port 9987").stdout == run("explain", "INVALID_NAME").stdout
        )

    def test_raw_of_nothing(self) -> None:
        result = run("decode", "--raw", stdin="")

        assert (result.exit_code, result.stdout) == (1, "")
        assert "no message" in result.stderr

    def test_a_name_leads_to_its_page(self) -> None:
        result = run("decode", "INVALID_NAME")

        assert result.exit_code == 1
        assert "`excguard explain INVALID_NAME`" in result.stderr

    def test_a_reader_that_ends_early(self, directory: Path) -> None:
        code = "from excguard.cli import main; main()"
        with subprocess.Popen(
            [sys.executable, "-c", code, "scan", "--json", str(directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            assert child.stdout
            assert child.stderr
            child.stdout.close()

            assert child.stderr.read() == b""
            assert child.wait() == 0


class TestUnreadable:
    @pytest.mark.parametrize(
        "text",
        [
            '{"broken',
            "hello",
            '{"bug_type":"309","os_version":"macOS 15.5 (24F74)"}\n',
            '{"bug_type":"309","os_version":"macOS 15.5 (24F74)"}\n{"procName":"App","uptime":',
        ],
    )
    def test_what_is_called_a_report_and_is_not_one_is_counted(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.ips").write_text(text)
        result = run("scan", str(tmp_path))

        assert result.exit_code == 1
        assert "0 guard violations in 0 of 1 files; 1 could not be read" in result.stdout

    def test_a_report_cut_off_behind_its_exception_is_read_and_marked(self, directory: Path) -> None:
        whole = (directory / "a.ips").read_text()
        (report,) = lines(run("report", "--json", "-", stdin=whole[: whole.index('"faultingThread"')]))

        assert (report["truncated"], report["process"], report["os"]) == (True, "App", "macOS 26.4 (25E246)")
        assert [found["code"] for found in report["violations"]] == ["0x2000020000002703"]


def test_text_of_reports_does_not_act_on_the_terminal(tmp_path: Path) -> None:
    text = f"Process: =\x1b]0;x\x07\u202e [7]\nException Type: EXC_GUARD\nTermination Reason: {GUIDE}"
    (tmp_path / "a.txt").write_text(text)
    run("scan", str(tmp_path), "--output", str(tmp_path / "a.csv"))
    with (tmp_path / "a.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)

    assert row["process"].startswith("'=")
    for shown in (
        run("report", str(tmp_path / "a.txt")).stdout,
        run("scan", str(tmp_path)).stdout,
        row["process"],
    ):
        assert not set(shown) & set("\x1b\x07\u202e")


def test_policy_telemetry_is_not_a_violation(tmp_path: Path) -> None:
    line = (
        "kernel[0]: [Mail:4711] EXC_GUARD AST: type=0x1 flavor=0x0 target=0xf code=0x200000000000000f "
        "subcode=0x5\n"
    )
    (tmp_path / "kernel.txt").write_text(line)
    run = CliRunner().invoke
    decoded = run(main, ["decode", line])
    reported = run(main, ["report", str(tmp_path / "kernel.txt")])
    scanned = run(main, ["scan", str(tmp_path)])

    assert [decoded.exit_code, reported.exit_code, scanned.exit_code] == [1, 1, 1]
    assert "not a guard" in decoded.output
    assert "IPC policy number 15" in decoded.output
    assert "payload   0x5\n            detail 0x5" in decoded.output
    assert scanned.output.splitlines() == [
        "0 guard violations in 0 of 1 files; 0 could not be read; 1 line of policy telemetry"
    ]


def versioned(directory: Path, name: str, version: str, code: int = INVALID_NAME) -> Path:
    """A report of a version of an app."""
    path = directory / f"{name}.crash"
    path.write_text(
        f"Process: App [12]\nVersion: {version} (345)\n\nException Type: EXC_GUARD\n"
        f"Termination Reason: GUARD {code}\n"
    )
    return path


def test_scan_groups_by_version_and_shows_the_largest_counts(tmp_path: Path) -> None:
    for number in range(3):
        versioned(tmp_path, f"new{number}", "2.0")
    versioned(tmp_path, "old", "1.0")
    versioned(tmp_path, "older", "0.9")
    done = run("scan", str(tmp_path), "--by", "version", "--top", "1", "--output", str(tmp_path / "x.jsonl"))

    assert done.exit_code == 0
    assert "2.0" in done.output
    assert "1.0" not in done.output
    assert done.output.splitlines()[-1] == (
        "5 guard violations in 5 of 5 files; 0 could not be read; 2 smaller counts not shown"
    )
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert sorted(row["app_version"] for row in rows) == ["0.9", "1.0", "2.0", "2.0", "2.0"]


def test_scan_reads_what_was_modified_since(tmp_path: Path) -> None:
    os.utime(versioned(tmp_path, "before", "1.0"), (1_761_955_199, 1_761_955_199))  # 2025-10-31T23:59:59Z
    os.utime(versioned(tmp_path, "after", "1.0"), (1_761_955_200, 1_761_955_200))
    done = run("scan", str(tmp_path), "--since", "2025-11-01", "--json")

    assert [Path(json.loads(line)["file"]).stem for line in done.output.splitlines()] == ["after"]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_scan_leaves_the_old_rows_when_new_ones_cannot_be_written(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    versioned(tmp_path, "one", "1.0")
    output = tmp_path / f"rows.{suffix}"
    output.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = run("scan", str(tmp_path), "--output", str(output))

    assert done.exit_code == 1
    assert f"cannot write {output}: no space left on device" in done.output
    assert output.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.crash", output.name]


def test_rows_come_in_parts(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with open_rows(tmp_path / "rows.parquet") as file:
        for number in range(10_000):
            file.write([Row(f"{number}.ips", pid=number)])
    found = parquet.ParquetFile(tmp_path / "rows.parquet")

    assert found.metadata.num_row_groups == 5
    assert found.read().column("pid").to_pylist() == list(range(10_000))


@given(st.lists(st.text("abc-", min_size=1, max_size=12)), st.integers(8, 40))
def test_texts_are_wrapped_as_textwrap_does(words: list[str], width: int) -> None:
    expected = textwrap.wrap(" ".join(words), width, break_on_hyphens=False) or [""]

    assert wrapped(" ".join(words), width) == expected
