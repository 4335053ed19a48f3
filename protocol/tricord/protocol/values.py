"""`dataclass`: to readers and to the type checker that of the standard library, and cheaper at run time.

Up to Python 3.12 that one writes the text of up to eight methods for each class and compiles each by itself: with
hundreds of classes, an eighth of a server's start. Here, only `__init__` is compiled; the others are written once, for
all. And that a class is frozen is left to the type checker: to be refused at run time as well, each field of a new
value would have to be set by a call of its own, and it would take three times as long to make one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        """Make a dataclass; the options are those of the standard library."""
        return _made(cls, **options) if cls is not None else lambda cls: _made(cls, **options)


def _made(cls: type, *, frozen: bool = False, eq: bool = True, order: bool = False, **options: bool) -> type:
    own = vars(cls)
    adds_repr = options.pop("repr", True) and "__repr__" not in own
    adds_eq = eq and "__eq__" not in own
    # Who defines __eq__ alone has a __hash__ of None, by Python's own doing.
    adds_hash = eq and (frozen or adds_eq) and own.get("__hash__") is None
    if cls.__doc__ is None:
        # Else it would be the signature, which takes longer to find out than all the rest.
        cls.__doc__ = cls.__name__
    made: Any = dataclasses.dataclass(cls, eq=order, order=order, repr=False, **options)
    fields = dataclasses.fields(made)
    key = _values_of([field.name for field in fields if field.compare])
    if adds_repr:
        made.__repr__ = _repr_of([field.name for field in fields if field.repr])
    if adds_eq:
        made.__eq__ = _eq_of(key)
    if adds_hash:
        made.__hash__ = _hash_of(key) if frozen else None
    return made  # type: ignore[no-any-return]  # a class, whatever its metaclass


def _values_of(names: list[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else lambda _value: ()


def _repr_of(names: list[str]) -> Callable[[Any], str]:
    @recursive_repr()
    def shown(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return shown


def _eq_of(key: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def equal(self: Any, other: Any) -> Any:
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    return equal


def _hash_of(key: Callable[[Any], Any]) -> Callable[[Any], int]:
    def hashed(self: Any) -> int:
        return hash(key(self))

    return hashed
