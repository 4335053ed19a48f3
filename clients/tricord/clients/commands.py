"""Commands of a bot: a handler's parameters are the command's arguments, converted by their annotations.

    async def remind(message: Message, minutes: float, text: str) -> None

takes `!remind 10 water the plants`: one word for `minutes`, the rest of the message for `text`, since it is the last
and a `str`.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tricord.clients.events import Message
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import (
    RoomAlias,
    RoomId,
    UserId,
    parse_room_alias,
    parse_room_id,
    parse_user_id,
)

Handler = Callable[..., Awaitable[None]]


class WrongArguments(Exception):
    """What the user typed does not fit the command; the user is told so, and the usage. Handlers may raise it too."""


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(word)
    return number


# How a word becomes an argument, and what it must be, in words.
_CONVERTERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    str: (str, "a text"),
    int: (int, "a whole number"),
    float: (_finite, "a number"),
    UserId: (parse_user_id, "a user id"),
    RoomId: (parse_room_id, "a room id"),
    RoomAlias: (parse_room_alias, "a room alias"),
}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command."""

    name: str
    kind: Any
    required: bool
    default: Any

    @classmethod
    def of(cls, parameter: inspect.Parameter, annotation: Any) -> Argument:
        """Read a parameter of a handler. Raises TypeError if no word can be converted to it."""
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            raise TypeError(f"{parameter.name} is not a plain parameter")
        if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
            kinds = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType]
            annotation = kinds[0] if len(kinds) == 1 else annotation
        if annotation not in _CONVERTERS:
            raise TypeError(f"{parameter.name} must be one of str, int, float, UserId, RoomId, RoomAlias")
        required = parameter.default is parameter.empty
        return cls(parameter.name, annotation, required, None if required else parameter.default)

    @property
    def usage(self) -> str:
        """How it is shown: in brackets if it may be left out."""
        return f"<{self.name}>" if self.required else f"[{self.name}]"

    def convert(self, word: str) -> Any:
        """Return the argument that a word stands for. Raises WrongArguments."""
        converter, expected = _CONVERTERS[self.kind]
        try:
            return converter(word)
        except (ValueError, MatrixError):
            raise WrongArguments(f"{word!r} is not {expected}") from None


@dataclass(frozen=True, slots=True)
class Command:
    """A handler, the word that calls it, and the arguments it takes after the message."""

    word: str
    handler: Handler
    arguments: tuple[Argument, ...]

    @classmethod
    def of(cls, word: str, handler: Handler) -> Command:
        """Read the handler's signature. Raises TypeError where it cannot be that of a command."""
        annotations = typing.get_type_hints(handler)
        parameters = list(inspect.signature(handler).parameters.values())
        if not parameters:
            raise TypeError(f"{handler.__name__} does not take the message")
        try:
            arguments = tuple(Argument.of(one, annotations.get(one.name, str)) for one in parameters[1:])
        except TypeError as error:
            raise TypeError(f"{handler.__name__}: {error}") from None
        return cls(word, handler, arguments)

    @property
    def usage(self) -> str:
        """How the command is typed: `remind <minutes> <text>`, what may be left out in brackets."""
        return " ".join([self.word, *(argument.usage for argument in self.arguments)])

    @property
    def help(self) -> str:
        """The first line of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    async def call(self, message: Message, rest: str) -> None:
        """Convert the words after the command and call the handler. Raises WrongArguments."""
        values: list[Any] = []
        rest = rest.strip()
        for argument in self.arguments:
            if not rest:
                if argument.required:
                    raise WrongArguments(f"{argument.name} is missing")
                values.append(argument.default)
            elif argument is self.arguments[-1] and argument.kind is str:
                values.append(rest)
                rest = ""
            else:
                word, *more = rest.split(maxsplit=1)
                rest = more[0] if more else ""
                values.append(argument.convert(word))
        if rest:
            raise WrongArguments(f"{rest!r} is too much")
        await self.handler(message, *values)
