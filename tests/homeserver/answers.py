"""What the specification says of answers, and whether one is like that. The data: `tests/vectors/answers.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parents[1] / "vectors" / "answers.json"

# By method and path, with `{}` for each parameter.
ANSWERS: dict[str, Any] = {key: value for key, value in json.loads(_FILE.read_text()).items() if key[0] != "_"}

_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def key_of(method: str, path: str) -> str:
    """Return how `ANSWERS` calls an endpoint, whatever is asked of it in the query."""
    return f"{method} {re.sub(r'{[^}]*}', '{}', path.partition('?')[0])}"


def faults(value: Any, schema: Any, where: str = "$") -> Iterator[str]:
    """Tell what of a value is not as its schema says."""
    if not isinstance(schema, dict):
        return
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{where} is {value!r:.60}, not {kinds}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r:.60}, not one of {schema['enum']}"
    for part in schema.get("allOf", ()):
        yield from faults(value, part, where)
    for alternatives in (schema.get("oneOf"), schema.get("anyOf")):
        if alternatives and all(any(faults(value, one, where)) for one in alternatives):
            yield f"{where} is none of the alternatives"
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, one in value.items():
            yield from faults(one, properties.get(name, schema.get("additionalProperties")), f"{where}.{name}")
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from faults(one, schema.get("items"), f"{where}[{number}]")


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])
