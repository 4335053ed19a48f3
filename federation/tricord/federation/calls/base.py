"""What every group of calls stands on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tricord.federation.client import FederationClient
from tricord.federation.errors import PeerAnswerInvalid
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import ServerName, parse_server_name
from tricord.protocol.strict_json import JsonObject

# The state of the largest rooms is that large.
WHOLE_ROOM_BYTES = 256 << 20
WHOLE_ROOM_SECONDS = 300.0
EVENTS_BYTES = 16 << 20
EVENTS_SECONDS = 60.0
QUICK_SECONDS = 10.0
_MOST_SERVERS = 10_000


class PeerCalls:
    """Methods that ask other servers.

    Every one raises PeerRefused, PeerUnreachable or PeerAnswerInvalid, and nothing else. What a user waits for is tried
    even while a server is backed off from.
    """

    def __init__(self, client: FederationClient) -> None:
        self._client = client


def server_names(texts: Sequence[str]) -> list[ServerName]:
    """Return those that are server names, each once: they say whom to ask, and one bad name spoils nothing."""
    names: dict[ServerName, None] = {}
    for text in texts[:_MOST_SERVERS]:
        try:
            names[parse_server_name(text)] = None
        except InvalidParam:
            continue
    return list(names)


def json_object(destination: ServerName, answer: Any) -> JsonObject:
    """Return an answer that must be an object."""
    if type(answer) is not dict:
        raise PeerAnswerInvalid(destination, "the answer is not an object")
    return answer
