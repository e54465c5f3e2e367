"""Records behave as frozen dataclasses do."""

import copy
import pickle

import pytest

from excguard.knowledge.record import Record


class Point(Record):
    """A record with a default."""

    x: int
    y: int = 2


class Positive(Record):
    """One that checks its values."""

    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError(f"not positive: {self.number}")


class Named(Point, kw_only=True):
    """One with a base, whose fields have to be named."""

    name: str


def test_values_are_taken_by_position_and_by_name() -> None:
    assert (Point(1).x, Point(1).y) == (1, 2)
    assert Point(1, 3) == Point(y=3, x=1) != Point(1)
    assert Named(x=1, name="a").as_dict() == {"x": 1, "y": 2, "name": "a"}


def test_equal_records_are_of_one_class_and_have_one_hash() -> None:
    assert Point(1) == Point(1, 2)
    assert hash(Point(1)) == hash(Point(1, 2))
    assert Point(1) != (1, 2)
    assert {Point(1): "found"}[Point(1, 2)] == "found"


def test_a_record_is_shown_as_it_would_be_constructed() -> None:
    assert repr(Named(x=1, name="a")) == "Named(x=1, y=2, name='a')"
    assert eval(repr(Point(1))) == Point(1)  # noqa: S307 - own text


def test_a_record_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match=r"immutable: Point\.x"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"immutable: Point\.x"):
        del point.x
    assert point.replace(x=5) == Point(5, 2)
    assert point == Point(1)


def test_copies_and_pickles_are_equal() -> None:
    named = Named(x=1, name="a")
    assert pickle.loads(pickle.dumps(named)) == named  # noqa: S301 - own data
    assert copy.copy(named) == copy.deepcopy(named) == named


@pytest.mark.parametrize(
    ("values", "named", "text"),
    [
        ((), {}, r"Point\(\) lacks x"),
        ((1,), {"z": 1}, r"Point\(\) has no field z"),
        ((1, 2, 3), {}, r"takes fewer values by position"),
        ((1,), {"x": 1}, r"each field one time"),
    ],
)
def test_wrong_values_are_refused(values: tuple[int, ...], named: dict[str, int], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Point(*values, **named)


def test_fields_of_a_keyword_record_have_to_be_named() -> None:
    with pytest.raises(TypeError, match="lacks x"):
        Named(1, name="a")  # type: ignore[misc,call-arg]


def test_values_are_checked_however_a_record_is_made() -> None:
    with pytest.raises(ValueError, match="not positive: 0"):
        Positive(0)
    with pytest.raises(ValueError, match="not positive: -1"):
        Positive(1).replace(number=-1)
