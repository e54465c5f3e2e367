"""Site ids: equal for what is one site, different for what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excguard.crash_reports.report import Frame, Report
from excguard.decoding.code import join
from excguard.decoding.decode import decode
from excguard.decoding.site import SYMBOL_STEP, Place, Site, innermost

UUID = "4A9F1D7E-8C51-3F51-A8D5-0A6B1E2C3D4F"


def site(place: Place | None, flavor: str = "INVALID_NAME", executable: str = "app") -> Site:
    return Site(1, flavor, place, executable)


def test_id_is_stable_across_releases_of_excguard() -> None:
    """Baselines of users hold these: a change of the rule is a change of the format."""
    place = Place("/Applications/App.app/Contents/MacOS/app", UUID, 0x1F20)

    assert site(None).id == "4557731e64d8"
    assert site(place).id == "5e9ef37dd3be"
    assert site(place._replace(symbol="f", symbol_offset=70)).id == "bd37d9fc638a"


@given(st.integers(0, 2**40), st.text("0123456789abcdef", min_size=12, max_size=12))
def test_two_builds_have_one_id_where_the_symbol_is_known(offset: int, end: str) -> None:
    first = Place("/a/libfoo.dylib", UUID, 0x1000, "foo_close", 24)
    second = Place("/elsewhere/libfoo.dylib", f"{UUID[:-12]}{end}", offset, "foo_close", 24)

    assert site(first).id == site(second).id


def test_a_small_shift_in_a_function_is_the_same_site_and_a_large_one_is_not() -> None:
    place = Place("libfoo.dylib", symbol="foo_close", symbol_offset=0)

    assert site(place).id == site(place._replace(symbol_offset=SYMBOL_STEP - 1)).id
    assert site(place).id != site(place._replace(symbol_offset=SYMBOL_STEP)).id


def test_without_a_symbol_the_build_and_the_offset_decide() -> None:
    place = Place("/a/libfoo.dylib", UUID, 0x1000)

    assert (
        site(place).id
        == site(place._replace(image="/b/renamed.dylib", uuid=UUID.lower().replace("-", ""))).id
    )
    assert site(place).id != site(place._replace(offset=0x1004)).id
    assert site(place).id != site(place._replace(uuid=UUID.replace("4", "5"))).id
    assert site(place).precision == "offset"


def test_without_a_place_the_executable_decides() -> None:
    assert site(None).id == site(Place("")).id
    assert site(None).id != site(None, executable="other").id
    assert site(None).precision == "executable"


def test_a_function_of_the_system_is_no_place() -> None:
    """It is called by all programs, and from all places of one."""
    found = site(Place("/usr/lib/system/libsystem_kernel.dylib", UUID, 0x1234, "mach_msg2_trap", 8))

    assert (found.precision, found.id, str(found)) == ("executable", site(None).id, "app")


@pytest.mark.parametrize(
    ("code", "flavor"),
    [
        (join(1, 0x200, 0x103), "INVALID_NAME"),  # 26.4; the name stays when numbers change
        (join(1, 0xABCD, 0x103), "0xabcd"),  # in no table
        (join(3, 0, 0x103), "USER"),  # a guard type without flavors
    ],
)
def test_the_flavor_of_a_violation_has_one_name(code: int, flavor: str) -> None:
    found = Site.of(decode(code, 0, "26.4"), None, "app")

    assert found == Site(code >> 61, flavor, None, "app")


def test_a_report_and_a_live_hit_of_one_place_have_one_site() -> None:
    frames = [
        Frame(0, "libsystem_kernel.dylib", 0x1214, symbol="mach_msg2_trap", symbol_offset=8),
        Frame(1, "libfoo.dylib", 0x1F20, path="/opt/libfoo.dylib", uuid=UUID),
    ]
    report = Report(process="app", violations=[decode(join(1, 0x200, 0x103), 0, "26.4")], frames=frames)
    live = Place("/opt/libfoo.dylib", UUID, 0x1F20)

    assert report.site(report.violations[0]).id == site(live).id
    (violation,) = report.to_dict()["violations"]
    assert (violation["site_id"], violation["site_precision"]) == (site(live).id, "offset")
    nothing_known = Report(violations=report.violations)
    assert nothing_known.to_dict()["violations"][0]["site_id"] is None


def test_flavor_and_type_decide_too() -> None:
    place = Place("libfoo.dylib", symbol="foo_close")

    assert site(place).id != site(place, flavor="MOD_REFS").id
    assert site(place).id != Site(2, "INVALID_NAME", place, "app").id


@pytest.mark.parametrize(
    ("image", "of_the_system"),
    [
        ("/usr/lib/system/libsystem_kernel.dylib", True),
        ("/System/Library/Frameworks/Foundation.framework/Versions/C/Foundation", True),
        ("libsystem_kernel.dylib", True),
        ("dyld", True),
        ("/usr/local/lib/libvendor.dylib", False),
        ("/Applications/App.app/Contents/Frameworks/Vendor.framework/Vendor", False),
        ("libvendor.dylib", False),
        ("app", False),
    ],
)
def test_images_of_the_system(image: str, of_the_system: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert Place(image).in_system is of_the_system


def test_the_place_is_the_innermost_frame_outside_of_the_system() -> None:
    frames = [
        Place("libsystem_kernel.dylib", symbol="mach_msg2_trap"),
        Place(""),
        Place("libfoo.dylib"),
        Place("app"),
    ]

    assert innermost(frames) == Place("libfoo.dylib")
    assert innermost(frames[:1]) is None
