"""The one encoding of a JSON value that everybody hashes and signs.

https://spec.matrix.org/v1.19/appendices/#canonical-json
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from tricord.protocol.errors import BadJson
from tricord.protocol.strict_json import check_event_integers


def canonical_json(value: Any) -> bytes:
    """Encode `value`, or raise BadJson if it has no canonical form: floats, integers of 2^53, half surrogates.

    orjson sorts keys by code point and escapes exactly what the grammar does; numbers are where it allows more.
    """
    check_event_integers(value)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise BadJson(f"no canonical form: {error}") from error


def lenient_canonical_json(value: Any) -> bytes:
    """Encode `value` as servers did before room version 6, with floats and big integers where it has them.

    The bytes must be the ones that were signed, and those came from Python's own encoder: `1e+16`, not `1e16`.
    """
    try:
        return canonical_json(value)
    except BadJson:
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadJson(f"no canonical form: {error}") from error
