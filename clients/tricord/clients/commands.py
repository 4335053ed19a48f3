"""Commands of a bot: a handler's parameters are the command's arguments, converted by their annotations.

    async def remind(message: Message, minutes: int, text: str) -> None

takes `!remind 10 water the plants`: one word for `minutes`, the rest of the line for the last `str`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tricord.clients.events import Message

Handler = Callable[..., Awaitable[None]]

_CONVERTERS: dict[Any, Callable[[str], Any]] = {str: str, int: int, float: float}


class WrongArguments(Exception):
    """What the user typed does not fit the command; the message tells the usage."""


@dataclass(frozen=True, slots=True)
class Command:
    """A handler, the word that calls it, and the arguments it takes after the message."""

    word: str
    handler: Handler
    parameters: tuple[inspect.Parameter, ...]
    kinds: tuple[Any, ...]

    @classmethod
    def of(cls, word: str, handler: Handler) -> Command:
        """Read the handler's signature. Raises TypeError for an argument that no text can be converted to."""
        annotations = typing.get_type_hints(handler)
        _message, *parameters = inspect.signature(handler).parameters.values()
        kinds = tuple(annotations.get(parameter.name, str) for parameter in parameters)
        for parameter, kind in zip(parameters, kinds, strict=True):
            if kind not in _CONVERTERS:
                raise TypeError(f"{handler.__name__}: {parameter.name} must be one of str, int, float")
        return cls(word, handler, tuple(parameters), kinds)

    @property
    def usage(self) -> str:
        """How the command is typed: `remind <minutes> <text>`, optional arguments in brackets."""
        shown = [
            f"<{parameter.name}>" if parameter.default is parameter.empty else f"[{parameter.name}]"
            for parameter in self.parameters
        ]
        return " ".join([self.word, *shown])

    @property
    def help(self) -> str:
        """The first line of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    async def call(self, message: Message, rest: str) -> None:
        """Convert the words after the command and call the handler. Raises WrongArguments."""
        arguments: list[Any] = []
        for number, (parameter, kind) in enumerate(zip(self.parameters, self.kinds, strict=True)):
            last = number == len(self.parameters) - 1
            word, _, after = (rest, "", "") if last and kind is str else rest.partition(" ")
            rest = after.lstrip()
            if not word:
                if parameter.default is parameter.empty:
                    raise WrongArguments(f"usage: {self.usage}")
                arguments.append(parameter.default)
                continue
            try:
                arguments.append(_CONVERTERS[kind](word))
            except ValueError:
                raise WrongArguments(f"{word!r} is not a number; usage: {self.usage}") from None
        if rest:
            raise WrongArguments(f"usage: {self.usage}")
        await self.handler(message, *arguments)
