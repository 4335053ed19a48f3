"""Reading the JSON of another server's answer.

An answer of thousands of events is not thrown away for one of them that is nested too deep: that one is left out.
"""

from __future__ import annotations

from typing import Any

from tricord.protocol.errors import BadJson, NotJson
from tricord.protocol.strict_json import MAX_DEPTH, parse_json

# What orjson itself reads.
_DEEPEST = 1024
# A list of events in an object: an event may be as deep as anywhere else.
_WRAPPING = 2


def read_answer(body: bytes) -> Any:
    """Return the JSON value of an answer, without events that are nested too deep; raise BadJson."""
    try:
        return parse_json(body, max_depth=MAX_DEPTH + _WRAPPING)
    except NotJson as error:
        raise BadJson(error.message) from error
    except BadJson:
        pass
    answer = parse_json(body, max_depth=_DEEPEST)
    if type(answer) is dict:
        for key, value in answer.items():
            if type(value) is list:
                answer[key] = [item for item in value if _is_shallow(item, MAX_DEPTH)]
    if not _is_shallow(answer, MAX_DEPTH + _WRAPPING):
        raise BadJson(f"nested deeper than {MAX_DEPTH}")
    return answer


def _is_shallow(value: Any, max_depth: int) -> bool:
    """Return whether containers are nested at most so deep."""
    level = [value]
    for _ in range(max_depth + 1):
        level = [
            child
            for container in level
            if type(container) is dict or type(container) is list
            for child in (container.values() if type(container) is dict else container)
        ]
        if not level:
            return True
    return False
