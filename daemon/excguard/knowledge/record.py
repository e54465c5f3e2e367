"""Records: immutable values with named fields, whose classes cost little to make.

To type checkers a subclass of `Record` is a frozen dataclass (PEP 681). A dataclass or a named tuple compiles
methods of its own when its class is made, which takes 0.8 to 2.3 million instructions (CPython 3.11), and a
`msgspec.Struct` costs the import of msgspec, 26 million. `excguard decode` makes 20 such classes.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, dataclass_transform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


@dataclass_transform(frozen_default=True)
class Record:
    """Base of a class whose annotations are its fields, with their defaults: equal, hashed and shown by them.

    A subclass has the fields of its base before its own. With ``kw_only`` they have to be named.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}
    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        """Take the fields from the annotations."""
        own = list(cls.__dict__.get("__annotations__", {}))  # noqa: RUF063 - inspect takes longer to import
        cls._fields = tuple(dict.fromkeys((*cls._fields, *own)))
        cls.__match_args__ = () if kw_only else cls._fields  # type: ignore[misc] # mypy gives it another type
        cls._defaults = cls._defaults | {name: vars(cls)[name] for name in own if name in vars(cls)}
        for name in own:
            if name in vars(cls):
                delattr(cls, name)  # the instance has it

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - of the fields' types
        """Take the values, by position or by name. Raises TypeError for wrong ones."""
        values = self.__dict__
        values.update(self._defaults)
        values.update(zip(self.__match_args__, args, strict=False))
        values.update(kwargs)
        if (
            len(values) != len(self._fields)
            or len(args) > len(self.__match_args__)
            or (args and not kwargs.keys().isdisjoint(self._fields[: len(args)]))
        ):
            raise TypeError(_mismatch(type(self).__name__, self._fields, values))
        self.__post_init__()

    def __post_init__(self) -> None:
        """Called with all values in place, as of a dataclass: a subclass checks them here."""

    def replace(self, **changes: Any) -> Self:  # noqa: ANN401 - of the fields' types
        """A copy with other values in some fields."""
        return type(self)(**self.as_dict() | changes)

    def as_dict(self) -> dict[str, Any]:
        """The values by name, in the order of the fields."""
        return dict(zip(self._fields, self._values(), strict=True))

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self._fields])

    def __eq__(self, other: object) -> bool:
        """Whether it is of the same class and has the same values."""
        if type(self) is not type(other):
            return NotImplemented
        return self is other or self._values() == other._values()

    def __hash__(self) -> int:
        """That of the values."""
        return hash(self._values())

    def __repr__(self) -> str:
        """As it would be constructed."""
        shown = [f"{name}={value!r}" for name, value in self.as_dict().items()]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Raise AttributeError."""
        raise AttributeError(f"immutable: {type(self).__name__}.{name}")

    def __delattr__(self, name: str) -> NoReturn:
        """Raise AttributeError."""
        raise AttributeError(f"immutable: {type(self).__name__}.{name}")

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle and copy need."""
        return _restored, (type(self), self.as_dict())


def _restored(cls: type[Record], values: dict[str, Any]) -> Record:
    """A record out of a pickle or of a copy."""
    return cls(**values)


def _mismatch(name: str, fields: tuple[str, ...], values: dict[str, Any]) -> str:
    if missing := [field for field in fields if field not in values]:
        return f"{name}() lacks {', '.join(missing)}"
    if unknown := [key for key in values if key not in fields]:
        return f"{name}() has no field {', '.join(unknown)}"
    return f"{name}() takes fewer values by position, and each field one time"
