"""Messages to devices as they go to other servers: in EDUs of a bounded size.

https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import orjson

from tricord.protocol.errors import TooLarge
from tricord.protocol.identifiers import DeviceId, ServerName, UserId, server_name_of
from tricord.protocol.strict_json import JsonObject

MOST_BYTES = 64 << 10
_ENVELOPE_BYTES = 1024


def direct_to_device_edus(
    sender: UserId,
    event_type: str,
    messages: Mapping[UserId, Mapping[DeviceId, JsonObject]],
    *,
    new_id: Callable[[], str],
) -> list[tuple[ServerName, bytes]]:
    """Return messages as EDUs for the servers of those whom they are for; raise TooLarge if one fits into none."""
    by_server: dict[ServerName, dict[UserId, Mapping[DeviceId, JsonObject]]] = {}
    for user_id, devices in messages.items():
        by_server.setdefault(server_name_of(user_id), {})[user_id] = devices
    return [
        (server, _edu(sender, event_type, part, new_id()))
        for server, of_server in by_server.items()
        for part in _parts(of_server)
    ]


def _parts(messages: Mapping[UserId, Mapping[DeviceId, JsonObject]]) -> Iterator[dict[UserId, dict[DeviceId, object]]]:
    part: dict[UserId, dict[DeviceId, object]] = {}
    size = _ENVELOPE_BYTES
    for user_id, devices in messages.items():
        for device_id, content in devices.items():
            message = orjson.dumps(content)
            # Both names may be escaped, each byte by six.
            more = len(message) + 6 * (len(user_id.encode()) + len(device_id.encode())) + 16
            if _ENVELOPE_BYTES + more > MOST_BYTES:
                raise TooLarge(f"a message to a device of another server fits into {MOST_BYTES} bytes")
            if size + more > MOST_BYTES:
                yield part
                part, size = {}, _ENVELOPE_BYTES
            part.setdefault(user_id, {})[device_id] = orjson.Fragment(message)
            size += more
    if part:
        yield part


def _edu(sender: UserId, event_type: str, messages: object, message_id: str) -> bytes:
    content = {"sender": sender, "type": event_type, "message_id": message_id, "messages": messages}
    return orjson.dumps({"edu_type": "m.direct_to_device", "content": content})
