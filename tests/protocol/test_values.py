"""Whatever can be seen of these classes is as if the standard library had made them."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from tricord.protocol.values import dataclass

Decorator = Callable[..., Any]


def point(decorator: Decorator, **options: bool) -> Any:
    @decorator(**options)
    class Point:
        """A place."""

        x: int
        y: int = 2
        label: str = dataclasses.field(default="here", compare=False)
        secret: str = dataclasses.field(default="none", repr=False)

    return Point


def one(decorator: Decorator, **options: bool) -> Any:
    @decorator(**options)
    class One:
        value: Any

    return One


def nothing(decorator: Decorator, **options: bool) -> Any:
    @decorator(**options)
    class Nothing:
        """Nothing at all."""

    return Nothing


def with_methods(decorator: Decorator, **options: bool) -> Any:
    @decorator(**options)
    class Named:  # noqa: PLW1641  # whether it is given a hash is what is asked
        """Equal to all of its name."""

        name: str
        number: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named) and other.name == self.name

        def __repr__(self) -> str:
            return f"<{self.name}>"

    return Named


OPTIONS = [
    {"frozen": True, "slots": True},
    {"frozen": True},
    {"slots": True},
    {"slots": True, "eq": False},
    {"frozen": True, "slots": True, "eq": False},
    {"frozen": True, "slots": True, "order": True},
    {"frozen": True, "slots": True, "repr": False},
    {},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options) or "none")


def behaviour(cls: Any, *arguments: list[Any]) -> list[object]:
    """Return what can be seen of a class and of values of it."""
    values = [cls(*each) for each in arguments]
    seen: list[object] = [
        [(field.name, field.type) for field in dataclasses.fields(cls)],
        cls.__match_args__,
        "__slots__" in vars(cls),
        cls.__hash__ is None,
        cls.__hash__ is object.__hash__,
    ]
    if cls.__repr__ is not object.__repr__:
        seen.append([repr(value) for value in values])
    seen.append([one == other for one in values for other in values])
    seen.append([value == copy.copy(value) for value in values])
    if cls.__hash__ is not None:
        seen.append([hash(one) == hash(other) for one in values for other in values])
    if "__lt__" in vars(cls):
        seen.append([one < other for one in values for other in values])
    return seen


@every_option
def test_a_class_behaves_as_that_of_the_standard_library(options: dict[str, bool]) -> None:
    for make, arguments in (
        (point, ([1], [1, 2], [1, 3], [2], [1, 2, "there"], [1, 2, "here", "x"])),
        (one, ([1], [2], [1.0])),
        (nothing, ([], [])),
        (with_methods, (["a", 1], ["a", 2], ["b", 1])),
    ):
        expected = behaviour(make(dataclasses.dataclass, **options), *arguments)
        assert behaviour(make(dataclass, **options), *arguments) == expected


def test_values_of_two_classes_are_never_equal() -> None:
    assert point(dataclass, frozen=True)(1) != point(dataclass, frozen=True)(1)
    assert point(dataclass, frozen=True)(1) != 1


def test_a_value_that_holds_itself_can_be_shown() -> None:
    value = one(dataclass)(None)
    value.value = value
    assert repr(value).endswith("One(value=...)")


@dataclass(frozen=True, slots=True)
class Base:
    """What has a name."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived(Base):
    """What has a number, too."""

    number: int


def test_a_class_inherits_and_its_values_travel() -> None:
    value = Derived("a", number=1)
    assert repr(value) == "Derived(name='a', number=1)"
    assert dataclasses.replace(value, number=2) == Derived("a", number=2) != value
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301  # our own
    assert Base("a") != value
    assert {value: 1}[Derived("a", number=1)] == 1
