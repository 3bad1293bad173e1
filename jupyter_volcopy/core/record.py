"""Values with named fields, as `dataclasses` makes them, at a twentieth of the price.

`import dataclasses` costs more than a whole copy of a small file, and each decorated class a
compilation more. Here a class that derives from `Value` (frozen) or `State` gets its fields from
its annotations when it is made, as slots; construction, comparison and `repr` are one method for
all of them. Checkers are told by `dataclass_transform` and see the same classes.

What `dataclasses` asks of a class (`fields`, `replace`) works: the answer is made when it
is first asked for. `Words` stands in for `enum.Enum` the same way, where the members are text.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from enum import Enum as Words
    from typing import Any, TypeVar

    from typing_extensions import dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_):
        return lambda made: made


__all__ = ["Fields", "State", "Value", "Words", "each", "fields", "replace"]

_set = object.__setattr__


if not TYPE_CHECKING:

    class _WordsMeta(type):
        """Makes one instance for each text in a class."""

        def __new__(mcs, name, bases, space):
            words = {
                key: word for key, word in space.items() if key[0] != "_" and type(word) is str
            }
            for key in words:
                del space[key]
            space["__slots__"] = ("name",) if words else ()
            space["__repr__"] = lambda self: f"<{name}.{self.name}>"  # before that of `str`
            found = super().__new__(mcs, name, bases, space)
            found._members = {}
            for key, word in words.items():
                member = str.__new__(found, word)
                type.__setattr__(found, key, member)
                _set(member, "name", key)
                found._members[word] = member
            return found

        def __call__(cls, word: object) -> Any:
            try:
                return cls._members[word]
            except (KeyError, TypeError):
                raise ValueError(f"{word!r} is not a valid {cls.__name__}") from None

        def __iter__(cls) -> Iterator[Any]:
            return iter(cls._members.values())

        def __len__(cls) -> int:
            return len(cls._members)

    class Words(metaclass=_WordsMeta):
        """Base of closed sets of words, as in `class Kind(str, Words)`: members are singletons."""

        @property
        def value(self) -> str:
            """The plain text."""
            return str.__str__(self)

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"{type(self).__name__} has fixed members")

        def __reduce_ex__(self, protocol: int) -> Any:
            return type(self), (self.value,)


class _Made:
    """A default that is made anew for every instance."""

    __slots__ = ("factory",)

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory


def each(*, factory: Callable[[], T]) -> T:
    """The default of a field that each instance gets its own of, as `each(factory=list)`."""
    return _Made(factory)  # type: ignore[return-value]


class _Meta(type):
    """Makes slots of the annotations of a class, in their order, after those of its bases."""

    __match_args__: tuple[str, ...]
    _defaults: dict[str, Any]
    _kinds: dict[str, Any]
    _setters: list[Callable[[object, object], None]]

    def __new__(mcs, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> _Meta:
        """A class whose annotations without `ClassVar` are its fields."""
        own = {
            field: kind
            for field, kind in space.get("__annotations__", {}).items()
            if not str(kind).startswith("ClassVar")
        }
        names: list[str] = []
        defaults: dict[str, Any] = {}
        kinds: dict[str, Any] = {}
        for base in reversed(bases):
            if isinstance(base, _Meta):
                names += [field for field in base.__match_args__ if field not in names]
                defaults.update(base._defaults)
                kinds.update(base._kinds)
        fresh = [field for field in own if field not in names]
        for field in own:
            if field in space:
                defaults[field] = space.pop(field)
        space["__slots__"] = tuple(fresh)
        space["__match_args__"] = (*names, *fresh)
        space["_defaults"] = defaults
        space["_kinds"] = kinds | own
        found = super().__new__(mcs, name, bases, space)
        found._setters = [getattr(found, field).__set__ for field in found.__match_args__]
        return found

    def __getattr__(cls, name: str) -> Any:
        """`__dataclass_fields__`, for `dataclasses.replace` and its like; nothing else."""
        if name != "__dataclass_fields__":
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        import dataclasses

        kinds = cls._kinds
        names: dict[str, Any] = {}
        for field in cls.__match_args__:
            default = cls._defaults.get(field, dataclasses.MISSING)
            if isinstance(default, _Made):
                names[field] = (kinds[field], dataclasses.field(default_factory=default.factory))
            else:
                names[field] = (kinds[field], dataclasses.field(default=default))
        shadow: Any = dataclasses.make_dataclass(
            cls.__name__, [(key, *it) for key, it in names.items()], kw_only=True
        )
        found: dict[str, Any] = shadow.__dataclass_fields__
        type.__setattr__(cls, name, found)
        return found


class Fields(metaclass=_Meta):
    """What `Value` and `State` share, for a base that may be either."""

    def __init__(self, *values: Any, **named: Any) -> None:
        cls = type(self)
        setters = cls._setters
        count = len(values)
        if count > len(setters):
            raise TypeError(f"{cls.__name__}() takes {len(setters)} values, {count} were given")
        for put, value in zip(setters, values):  # noqa: B905 - the rest has defaults
            put(self, value)
        if count == len(setters) and not named:
            return
        defaults = cls._defaults
        for name, put in zip(cls.__match_args__[count:], setters[count:]):  # noqa: B905
            if name in named:
                value = named.pop(name)
            elif name in defaults:
                value = defaults[name]
                if type(value) is _Made:
                    value = value.factory()
            else:
                raise TypeError(f"{cls.__name__}() misses the value {name!r}")
            put(self, value)
        if named:
            raise TypeError(f"{cls.__name__}() takes no {next(iter(named))!r}, or has it already")

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in type(self).__match_args__])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        cls = type(self)
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in cls.__match_args__)
        return f"{cls.__qualname__}({shown})"

    def __reduce__(self) -> Any:
        return type(self), self._values()


@dataclass_transform(field_specifiers=(each,))
class State(Fields):
    """Base of what changes while it is used: compared by its fields, not hashable."""


@dataclass_transform(frozen_default=True, field_specifiers=(each,))
class Value(Fields):
    """Base of what never changes: compared and hashed by its fields."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self._values())

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot assign to field {name!r}: a {type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"cannot delete field {name!r}: a {type(self).__name__} is frozen")


def fields(kind: type[Fields]) -> tuple[str, ...]:
    """The names of the fields of a class, in their order."""
    return kind.__match_args__


def replace(value: T, **changes: Any) -> T:
    """A copy of a `Value` or `State` with some fields changed."""
    cls: Any = type(value)
    new = {name: getattr(value, name) for name in cls.__match_args__}
    new.update(changes)
    copied: T = cls(**new)
    return copied
