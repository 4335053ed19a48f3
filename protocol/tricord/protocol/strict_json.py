"""Reading JSON from outside: what is not plain JSON of bearable depth is refused here.

Numbers keep the value they were written with. orjson alone would turn integers beyond 64 bits into floats, and the
oldest room versions sign such integers.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson

from tricord.protocol.errors import BadJson, NotJson

JsonObject = dict[str, Any]

MAX_DEPTH = 128
MAX_INTEGER = 2**53 - 1

_SCALARS = frozenset({str, bool, type(None)})
_CONTAINERS = frozenset({dict, list, tuple})
# Above this Python writes floats with an exponent, and so do the servers that signed them.
_SHORTEST_EXPONENT = 1e16


def parse_json(data: bytes | bytearray | memoryview | str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value that `data` spells; raise NotJson if it is not JSON, BadJson if it is nested too deep."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"not JSON: {error}") from error
    if _has_floats(value, max_depth):
        return _parse_exact_numbers(data)
    return value


def parse_object(data: bytes | bytearray | memoryview | str) -> JsonObject:
    """Return the JSON object that `data` spells; raise NotJson or BadJson."""
    value = parse_json(data)
    if type(value) is not dict:
        raise BadJson("not a JSON object")
    return value


def check_event_integers(value: Any) -> None:
    """Raise BadJson for what canonical JSON cannot hold: floats, and integers of 2^53 and beyond.

    https://spec.matrix.org/v1.19/appendices/#canonical-json
    """
    waiting = [(value,)]
    while waiting:
        container: Any = waiting.pop()
        children = container.values() if type(container) is dict else container
        kinds = set(map(type, children)) - _SCALARS
        if not kinds:
            continue
        if int in kinds:
            for child in children:
                if type(child) is int and not -MAX_INTEGER <= child <= MAX_INTEGER:
                    raise BadJson(f"an integer is beyond ±{MAX_INTEGER}")
            kinds.remove(int)
        if kinds:
            if not kinds <= _CONTAINERS:
                raise BadJson(
                    f"{min(kind.__name__ for kind in kinds - _CONTAINERS)} values cannot be in canonical JSON"
                )
            waiting += [child for child in children if type(child) in _CONTAINERS]


def _has_floats(value: Any, max_depth: int) -> bool:
    """Return whether there is a float anywhere; raise BadJson if containers are nested deeper than `max_depth`."""
    found = False
    level: list[Any] = [[value]]
    for _ in range(max_depth + 1):
        deeper: list[Any] = []
        for container in level:
            children = container.values() if type(container) is dict else container
            kinds = set(map(type, children))
            found = found or float in kinds
            if dict in kinds or list in kinds:
                deeper += [child for child in children if type(child) is dict or type(child) is list]
        if not deeper:
            return found
        level = deeper
    raise BadJson(f"nested deeper than {max_depth}")


def _parse_exact_numbers(data: bytes | bytearray | memoryview | str) -> Any:
    """Parse again, slower, what is known to be JSON of bearable depth and to hold big or fractional numbers."""
    text = data if isinstance(data, str) else bytes(data).decode()
    try:
        return json.loads(text, parse_float=_parse_number, parse_constant=_refuse_constant)
    except ValueError as error:  # an integer of thousands of digits
        raise BadJson(f"a number cannot be: {error}") from error


def _parse_number(text: str) -> int | float:
    """Read a number with a fraction or an exponent; `1e10` is the integer, as the appendix on canonical JSON has it."""
    number = float(text)
    if not math.isfinite(number):
        raise BadJson(f"the number {text} is out of range")
    if "." not in text and number.is_integer() and abs(number) < _SHORTEST_EXPONENT:
        return int(number)
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise NotJson(f"{text} is not JSON")
