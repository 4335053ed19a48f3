"""Reading JSON from outside: what is not plain JSON of bearable depth is refused here.

Numbers keep the value they were written with. orjson alone would turn integers beyond 64 bits into floats, and the
oldest room versions sign such integers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import orjson

from tricord.protocol.errors import BadJson, NotJson

JsonObject = dict[str, Any]

MAX_DEPTH = 128
MAX_INTEGER = 2**53 - 1

# Above this Python writes floats with an exponent, and so do the servers that signed them.
_SHORTEST_EXPONENT = 1e16


def parse_json(data: bytes | str, *, max_depth: int = MAX_DEPTH, parse_int: Callable[[str], int] = int) -> Any:
    """Return the value that `data` spells; raise NotJson if it is not JSON, BadJson if it is nested too deep.

    `parse_int` reads integers beyond 64 bits, and perhaps others.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"not JSON: {error}") from error
    if _has_floats(value, max_depth):
        return _parse_again(data, parse_float=_finite, parse_int=parse_int)
    return value


def parse_object(data: bytes | str, *, parse_int: Callable[[str], int] = int) -> JsonObject:
    """Return the JSON object that `data` spells; raise NotJson or BadJson. `parse_int` is as for `parse_json`."""
    value = parse_json(data, parse_int=parse_int)
    if type(value) is not dict:
        raise BadJson("not a JSON object")
    return value


def integer_of_64_bits(text: str) -> int:
    """Read an integer that everybody can write down again; raise BadJson for others."""
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise BadJson("an integer has more than 64 bits")
    return number


def parse_event_object(data: bytes, *, strict: bool) -> JsonObject:
    """Return the JSON object of an event; raise NotJson or BadJson.

    Strict rooms have no event with `-0`. Elsewhere `1e10` is an integer, as the text on canonical JSON has it; but
    `1.0` stays as it is, since that is how it was signed.
    """
    value = parse_object(data)
    if strict:
        if b"-0" in data:
            value = _parse_again(data, parse_float=_finite, parse_int=_never_minus_zero)
    elif _has_floats(value, MAX_DEPTH):
        value = _parse_again(data, parse_float=_integer_if_exponent)
    return value


def check_event_integers(value: Any) -> None:
    """Raise BadJson for what canonical JSON cannot hold: floats, and integers of 2^53 and beyond.

    https://spec.matrix.org/v1.19/appendices/#canonical-json
    """
    waiting: list[Any] = [[value]]
    # Every event goes through this, several times: a plain loop over what is mostly strings is the fastest.
    for container in waiting:
        for child in container.values() if type(container) is dict else container:
            kind = type(child)
            if kind is str:
                continue
            if kind is dict or kind is list or kind is tuple:
                waiting.append(child)
            elif kind is int:
                if not -MAX_INTEGER <= child <= MAX_INTEGER:
                    raise BadJson(f"an integer is beyond ±{MAX_INTEGER}")
            elif kind is not bool and child is not None:
                raise BadJson(f"canonical JSON cannot hold a {kind.__name__}")


def _has_floats(value: Any, max_depth: int) -> bool:
    """Return whether there is a float anywhere; raise BadJson if containers are nested deeper than `max_depth`."""
    found = False
    level: list[Any] = [[value]]
    for _ in range(max_depth + 1):
        deeper: list[Any] = []
        for container in level:
            for child in container.values() if type(container) is dict else container:
                kind = type(child)
                if kind is dict or kind is list:
                    deeper.append(child)
                elif kind is float:
                    found = True
        if not deeper:
            return found
        level = deeper
    raise BadJson(f"nested deeper than {max_depth}")


def _parse_again(
    data: bytes | str,
    *,
    parse_float: Callable[[str], int | float],
    parse_int: Callable[[str], int] = int,
) -> Any:
    """Parse, slowly and as exact as wanted, what is known to be JSON of bearable depth."""
    text = data if isinstance(data, str) else data.decode()
    try:
        return json.loads(text, parse_float=parse_float, parse_int=parse_int)
    except ValueError as error:  # an integer of thousands of digits
        raise BadJson(f"a number cannot be read: {error}") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadJson(f"the number {text} is out of range")
    return number


def _integer_if_exponent(text: str) -> int | float:
    number = _finite(text)
    if "." not in text and number.is_integer() and abs(number) < _SHORTEST_EXPONENT:
        return int(number)
    return number


def _never_minus_zero(text: str) -> int:
    if text == "-0":
        raise BadJson("-0 has no place in canonical JSON")
    return int(text)
