"""What clients may put into an event, before the log makes one of it.

https://spec.matrix.org/v1.19/client-server-api/#size-limits
"""

from __future__ import annotations

from tricord.protocol.errors import TooLarge
from tricord.protocol.strict_json import JsonObject, check_event_integers

MAX_KEY_BYTES = 255


def check_content(event_type: str, state_key: str | None, content: JsonObject) -> None:
    """Refuse numbers that events cannot hold and keys that are too long; the log checks the size of the whole.

    The oldest room versions accept floats from other servers, but no client of ours brings new ones into a room.
    """
    for name, value in (("type", event_type), ("state_key", state_key or "")):
        if len(value.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
            raise TooLarge(f"the event's `{name}` is longer than {MAX_KEY_BYTES} bytes")
    check_event_integers(content)
